"""Rows of curvestep.engine.rules.special."""

from __future__ import annotations

from typing import Any

import torch

from tests.engine.ops.row import Row, between, fixed, normal, positive, unit

inner = between(-0.8, 0.8)
above_one = between(1.3, 2.5)

SMOOTH: dict[str, tuple[Any, Any]] = {
    "asin": (torch.asin, inner),
    "acos": (torch.acos, inner),
    "atanh": (torch.atanh, inner),
    "asinh": (torch.asinh, normal),
    "acosh": (torch.acosh, above_one),
    "logit": (torch.logit, unit),
    "erfc": (torch.erfc, normal),
    "erfinv": (torch.erfinv, inner),
    "lgamma": (torch.lgamma, positive),
    "digamma": (torch.digamma, positive),
    "sinc": (torch.sinc, normal),
    "deg2rad": (torch.deg2rad, normal),
    "rad2deg": (torch.rad2deg, normal),
    "nan_to_num": (torch.nan_to_num, normal),
}
# Their double backward: torch has none, or loses digits near zero; the formula is an integral representation,
#     I₀(x) = mean over φ of exp(x cos φ),   I₁(x) = mean of cos φ exp(x cos φ),
# by the midpoint rule on 40 points, exact to 1e-20 for |x| < 4 because the integrand is periodic and analytic.
ANGLES = (torch.arange(40, dtype=torch.float64) + 0.5) * (torch.pi / 20)


def bessel(order: int, scaled: bool = False) -> Any:
    def run(x: Any) -> Any:
        c = torch.cos(ANGLES)
        x = x.double().unsqueeze(-1)
        terms = torch.exp(x * c - (x.abs() if scaled else 0.0))
        return (terms * c if order else terms).mean(-1)

    return run


def near_zero(*shape: int) -> Any:
    return between(-0.9, 0.9)(*shape)


def normal_log_distribution(x: Any) -> Any:
    return torch.log(0.5 * torch.erfc(-x * 0.5**0.5))


ROWS = [
    *[Row(f"aten.{name}.default", run, [draw(3, 4)]) for name, (run, draw) in SMOOTH.items()],
    Row("aten.logit.default", lambda x: torch.logit(x, 0.3), [unit(3, 4)], "eps", smooth=False),
    Row("aten.frac.default", torch.frac, [positive(3, 4)], smooth=False),
    Row(
        "aten.sinc.default",
        torch.sinc,
        [between(-0.3, 0.3)(3, 4)],
        "near zero",
        explicit=lambda x: torch.sin(torch.pi * x) / (torch.pi * x),
    ),
    Row(
        "aten.special_erfcx.default",
        torch.special.erfcx,
        [normal(3, 4)],
        explicit=lambda x: torch.exp(x * x) * torch.erfc(x),
    ),
    Row("aten.special_log_ndtr.default", torch.special.log_ndtr, [normal(3, 4)], explicit=normal_log_distribution),
    Row("aten.special_ndtri.default", torch.special.ndtri, [unit(3, 4)]),
    Row("aten.special_entr.default", torch.special.entr, [positive(3, 4)]),
    Row("aten.polygamma.default", lambda x: torch.polygamma(1, x), [positive(3, 4)]),
    Row("aten.mvlgamma.default", lambda x: torch.mvlgamma(x + 2, 3), [positive(3, 4)]),
    Row("aten.i0.default", torch.i0, [normal(3, 4)], explicit=bessel(0)),
    Row("aten.special_i1.default", torch.special.i1, [normal(3, 4)], explicit=bessel(1)),
    Row("aten.special_i0e.default", torch.special.i0e, [positive(3, 4)], explicit=bessel(0, True)),
    Row("aten.special_i1e.default", torch.special.i1e, [positive(3, 4)], explicit=bessel(1, True)),
    Row("aten.i0.default", torch.i0, [near_zero(3, 4)], "near zero", explicit=bessel(0)),
    Row("aten.special_i1.default", torch.special.i1, [near_zero(3, 4)], "near zero", explicit=bessel(1)),
    Row(
        "aten.special_i1e.default",
        lambda x: torch.special.i1e(x * 0.3),
        [positive(3, 4)],
        "near zero",
        explicit=lambda x: bessel(1, True)(x * 0.3),
    ),
    Row("aten.asin.default", torch.asin, [inner(5, 2)], "on weights", sampled=()),
    Row("aten.igamma.default", torch.special.gammainc, [fixed(positive(3, 4)), positive(3, 4)]),
]
