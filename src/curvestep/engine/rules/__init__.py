"""The derivative rules: one table a family, all entered into one registry on import."""

from __future__ import annotations

from curvestep.engine.rules import activation as activation
from curvestep.engine.rules import arithmetic as arithmetic
from curvestep.engine.rules import attention as attention
from curvestep.engine.rules import backward_ops as backward_ops
from curvestep.engine.rules import binary as binary
from curvestep.engine.rules import choice as choice
from curvestep.engine.rules import complex as complex
from curvestep.engine.rules import convolution as convolution
from curvestep.engine.rules import ctc as ctc
from curvestep.engine.rules import cumulative as cumulative
from curvestep.engine.rules import distance as distance
from curvestep.engine.rules import factorization as factorization
from curvestep.engine.rules import fourier as fourier
from curvestep.engine.rules import index as index
from curvestep.engine.rules import layout as layout
from curvestep.engine.rules import linalg as linalg
from curvestep.engine.rules import linear as linear
from curvestep.engine.rules import loss as loss
from curvestep.engine.rules import margin as margin
from curvestep.engine.rules import norm as norm
from curvestep.engine.rules import order as order
from curvestep.engine.rules import pointwise as pointwise
from curvestep.engine.rules import pool as pool
from curvestep.engine.rules import product as product
from curvestep.engine.rules import recurrent as recurrent
from curvestep.engine.rules import reduce as reduce
from curvestep.engine.rules import reparameterized as reparameterized
from curvestep.engine.rules import resample as resample
from curvestep.engine.rules import scatter as scatter
from curvestep.engine.rules import shape as shape
from curvestep.engine.rules import special as special
from curvestep.engine.rules.table import lookup as lookup
