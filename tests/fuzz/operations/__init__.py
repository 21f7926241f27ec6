"""The table of operations that programs are made of."""

from tests.fuzz.operations.binary import BINARY
from tests.fuzz.operations.inplace import INPLACE
from tests.fuzz.operations.linalg import LINALG
from tests.fuzz.operations.losses import LOSSES as LOSSES
from tests.fuzz.operations.norms import NORMS
from tests.fuzz.operations.operation import Operation
from tests.fuzz.operations.pointwise import POINTWISE
from tests.fuzz.operations.products import PRODUCTS
from tests.fuzz.operations.reductions import REDUCTIONS
from tests.fuzz.operations.shapes import SHAPES

TABLE: tuple[Operation, ...] = (*POINTWISE, *BINARY, *PRODUCTS, *NORMS, *SHAPES, *REDUCTIONS, *LINALG, *INPLACE)
BY_NAME = {row.name: row for row in (*TABLE, *LOSSES)}
