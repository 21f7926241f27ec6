"""Rows of curvestep.engine.rules.complex and fourier: every function returns real tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tests.engine.ops.row import Row, normal, positive

PAIR = [normal(3, 4), normal(3, 4)]


def parts(run: Any) -> Any:
    """The real form of a function of complex numbers x + iy."""

    def function(x: Tensor, y: Tensor) -> Tensor:
        out = run(torch.complex(x, y))
        return torch.view_as_real(out.resolve_conj()) if out.is_complex() else out

    return function


def of_complex(name: str, run: Any, desc: str = "", explicit: Any = None, inputs: Any = None) -> Row:
    return Row(
        f"aten.{name}", parts(run), PAIR if inputs is None else inputs, desc, (0, 1),
        explicit=None if explicit is None else parts(explicit),
    )  # fmt: skip


def transform(name: str, run: Any, desc: str = "", shape: tuple[int, ...] = (3, 6)) -> Row:
    """A transform of a bent real input, squared after, so that both parts of its jet count."""

    def function(x: Tensor) -> Tensor:
        out = run(x * x)
        return torch.view_as_real(out.resolve_conj()) if out.is_complex() else out

    return Row(f"aten.{name}.default", function, [normal(*shape)], desc)


def short_time(x: Tensor) -> Tensor:
    window = torch.hann_window(8, dtype=x.dtype)
    return torch.view_as_real(torch.stft(x * x, 8, 4, window=window, return_complex=True))


def there_and_back(x: Tensor) -> Tensor:
    window = torch.hann_window(8, dtype=x.dtype)
    spectrum = torch.stft(x * x, 8, 4, window=window, return_complex=True)
    return torch.istft(spectrum * spectrum, 8, 4, window=window)


ROWS = [
    of_complex("complex.default", lambda z: z * z),
    of_complex("view_as_real.default", lambda z: torch.view_as_real(z * z)),
    of_complex("_conj.default", lambda z: z.conj() * z * z),
    of_complex("_conj.default", lambda z: (z * z) @ z.mH, "matrix", inputs=[normal(3, 2, 4), normal(3, 2, 4)]),
    of_complex("_conj_physical.default", lambda z: torch.conj_physical(z * z)),
    of_complex("_neg_view.default", lambda z: (z * z).conj().imag * 1.0),
    of_complex("mul.Tensor", lambda z: z * z * (1 + 2j), "complex"),
    of_complex("div.Tensor", lambda z: (z + 1.5) / (z * z + 9), "complex"),
    of_complex("exp.default", torch.exp, "complex"),
    of_complex("abs.default", torch.abs, "complex"),
    of_complex("angle.default", torch.angle),
    Row("aten.angle.default", lambda x: x * x + torch.angle(x), [positive(3, 4)], "real"),
    of_complex("sgn.default", torch.sgn),
    Row(
        "aten.polar.default",
        lambda r, a: torch.view_as_real(torch.polar(r, a)),
        [positive(3, 4), normal(3, 4)],
        sampled=(0, 1),
    ),
    Row(
        "aten.view_as_complex.default",
        lambda x: torch.view_as_real(torch.view_as_complex(x * x).square()),
        [normal(3, 4, 2)],
    ),
    of_complex("linalg_vector_norm.default", lambda z: torch.linalg.vector_norm(z, dim=1), "complex"),
    transform("_fft_r2c", torch.fft.rfft),
    transform("_fft_r2c", lambda x: torch.fft.rfft(x).square(), "squared"),
    transform("_fft_r2c", lambda x: torch.fft.ihfft(x), "inverse"),
    transform("_fft_c2c", torch.fft.fft2, shape=(3, 4, 6)),
    transform("_fft_c2c", lambda x: torch.fft.ifft(torch.fft.fft(x).square()), "back"),
    transform("_fft_c2r", lambda x: torch.fft.irfft(torch.fft.rfft(x).square())),
    transform("_fft_c2r", lambda x: torch.fft.irfft2(torch.fft.rfft2(x).square()), "two axes", (3, 4, 6)),
    Row("aten.as_strided.default", short_time, [normal(3, 24)], "short time"),
    Row("aten.unfold_backward.default", there_and_back, [normal(3, 24)], "short time and back"),
]
