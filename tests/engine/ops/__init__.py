"""The database of operations: one file a family, named after the rules; every registered operation has a row."""

from __future__ import annotations

from tests.engine.ops import (
    activation,
    attention,
    backward_ops,
    binary,
    complex,
    cumulative,
    index,
    layout,
    linalg,
    linear,
    loss,
    margin,
    norm,
    order,
    pointwise,
    pool,
    product,
    reduce,
    resample,
    scatter,
    shape,
    special,
)
from tests.engine.ops.row import Row as Row

FAMILIES = (
    activation,
    attention,
    backward_ops,
    binary,
    cumulative,
    complex,
    linalg,
    product,
    index,
    layout,
    margin,
    resample,
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
