"""The derivative rules: one table a family, all entered into one registry on import."""

from __future__ import annotations

from curvestep.engine.rules import attention as attention
from curvestep.engine.rules import convolution as convolution
from curvestep.engine.rules import index as index
from curvestep.engine.rules import linear as linear
from curvestep.engine.rules import loss as loss
from curvestep.engine.rules import norm as norm
from curvestep.engine.rules import pointwise as pointwise
from curvestep.engine.rules import pool as pool
from curvestep.engine.rules import reduce as reduce
from curvestep.engine.rules import shape as shape
from curvestep.engine.rules.table import lookup as lookup
