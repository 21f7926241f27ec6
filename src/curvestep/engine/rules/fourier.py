"""Discrete Fourier transforms: linear over the real numbers, along axes that must not carry samples."""

from __future__ import annotations

import torch

from curvestep.engine.rules.forms import kept_unless
from curvestep.engine.rules.shape import linear_in_first

aten = torch.ops.aten

for _op in (aten._fft_r2c.default, aten._fft_c2c.default, aten._fft_c2r.default):
    linear_in_first(_op, kept_unless(lambda s: s.arg(1)))
