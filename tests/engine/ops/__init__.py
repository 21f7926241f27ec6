"""The database of operations: one file a family, named after the rules; every registered operation has a row."""

from __future__ import annotations

from tests.engine.ops import attention, index, linear, loss, norm, pointwise, pool, reduce, shape
from tests.engine.ops.row import Row as Row

FAMILIES = (attention, index, linear, loss, norm, pointwise, pool, reduce, shape)
ROWS: list[Row] = [row for family in FAMILIES for row in family.ROWS]
