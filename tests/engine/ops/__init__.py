"""The database of operations: one file a family, named after the rules; every registered operation has a row."""

from __future__ import annotations

from tests.engine.ops import (
    activation,
    attention,
    binary,
    cumulative,
    index,
    linear,
    loss,
    norm,
    order,
    pointwise,
    pool,
    reduce,
    scatter,
    shape,
    special,
)
from tests.engine.ops.row import Row as Row

FAMILIES = (
    activation,
    attention,
    binary,
    cumulative,
    index,
    linear,
    loss,
    norm,
    order,
    pointwise,
    pool,
    reduce,
    scatter,
    shape,
    special,
)
ROWS: list[Row] = [row for family in FAMILIES for row in family.ROWS]
