"""Discrete Fourier transforms: linear over the real numbers, along axes that must not carry samples."""

from __future__ import annotations

from curvestep.engine.rules.axes import kept_unless
from curvestep.engine.rules.forms import linear_in_first
from curvestep.engine.rules.operators import aten
from curvestep.engine.rules.table import op

for _op in (aten._fft_r2c.default, aten._fft_c2c.default, aten._fft_c2r.default):
    op(_op, linear_in_first(kept_unless(lambda s: s.arg(1))))
