"""Complex parameters and complex tensors between them, which count as pairs of real numbers: ⟨a, b⟩ = Re Σ ā b.

Truths: double backward by torch's convention, gradient = ∂J/∂Re + i ∂J/∂Im, and central differences.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import curvestep
from curvestep.testing import Problem, check_problem
from curvestep.testing.report import RuleCheckError
from tests.engine.parts import check_parts

C = torch.complex128


def numbers(*shape: int, dtype: torch.dtype = C) -> Tensor:
    return 0.7 * torch.randn(*shape, dtype=dtype)


@dataclass(frozen=True)
class Row:
    """A function of the samples (4, 3), or of (4, 3, 3), and of parameters, complex where `real` is not set."""

    name: str
    shapes: tuple[tuple[int, ...], ...]
    function: Callable[..., Tensor]
    matrices: bool = False
    real: tuple[int, ...] = ()
    whole: str = ""


def modrelu(x: Tensor, p: Tensor, b: Tensor) -> Tensor:
    z = x * p
    return F.softplus(z.abs() + b) * z / z.abs()


def attention(x: Tensor, q: Tensor, k: Tensor) -> Tensor:
    return torch.softmax(((x @ q) @ (x @ k).mH).real, -1).to(C) @ x


def assigned(x: Tensor, p: Tensor) -> Tensor:
    z = x * p
    z[:, 0] = p[0] * p[1]
    return z.mul_(p)


def standardised(x: Tensor, p: Tensor) -> Tensor:
    u = x * p - (x * p).mean(1, keepdim=True)
    return u / (u.abs().square().mean(1, keepdim=True) + 1e-3).sqrt()


ELEMENTWISE = (
    "exp", "log", "log2", "log10", "log1p", "expm1", "sin", "cos", "tan", "sinh", "cosh", "tanh", "asin", "acos",
    "atan", "asinh", "acosh", "atanh", "sigmoid", "sqrt", "rsqrt", "reciprocal", "square", "sgn", "angle", "abs",
)  # fmt: skip
ROWS = [
    *(Row(name, ((3,),), (lambda f: lambda x, p: f(0.5 * x * p))(getattr(torch, name))) for name in ELEMENTWISE),
    *(Row(name, ((3,),), (lambda f: lambda x, p: f(x * p * p))(getattr(torch.fft, name)))
      for name in ("fft", "ifft", "hfft", "irfft")),
    Row("rfft", ((3,),), lambda x, p: torch.fft.rfft((x * p).real) * p[:2]),
    Row("irfft2", ((3,),), lambda x, p: torch.fft.irfft2(x * p * p, s=(3, 3)), matrices=True),
    Row("products", ((4, 3), (3,)), lambda x, p, q: p * q * x - (p / (q + 3)) * x.conj()),
    Row("powers", ((3,), (3,)), lambda x, p, q: (x * p) ** q + (1.5 + 0.2j) ** (x * p) + (x * p) ** (0.5 + 0.3j)),
    Row("with real factors", ((3,), (3,)), lambda x, p, r: (x * p * r).exp() * x.real, real=(1,)),
    Row("linear", ((2, 3), (2,), (3, 2)), lambda x, w, b, v: F.linear(F.linear(x, w, b).sin(), v)),
    Row("matrices", ((3, 3), (3, 3)), lambda x, w, v: x @ w @ v @ w.mH),
    Row("batched", ((3, 3),), lambda x, w: torch.bmm(x, (w @ w).expand(4, 3, 3)), matrices=True),
    Row("einsum", ((3, 3),), lambda x, w: torch.einsum("bi,ij,bj->b", x.conj(), w * w, x)),
    Row("inner products", ((3,),), lambda x, a: x * torch.dot(a, a.sin()) + x * torch.vdot(a, a.cos())),
    Row("convolution", ((2, 3, 2), (2,)), lambda x, w, b: F.conv1d(x, w * w, b, padding=1).tanh(), matrices=True),
    Row("transposed convolution", ((3, 2, 2),), lambda x, w: F.conv_transpose1d(x, w * w), matrices=True),
    Row("convolution 2d", ((2, 1, 2, 2),), lambda x, w: F.conv2d(x[:, None], w).tanh(), matrices=True),
    Row("conjugates", ((3,),), lambda x, p: (x * p).conj() * p + torch.conj_physical(x * p)),
    Row("parts", ((3,),), lambda x, p: (x * p).real * (x * p * p).imag),
    Row("pairs", ((3, 2),), lambda x, a: torch.view_as_real(torch.view_as_complex(a) * x).sin(), real=(0,)),
    Row("put together", ((3,), (3,)), lambda x, a, b: torch.complex(a, b) * torch.polar(a.exp(), b) * x, real=(0, 1)),
    Row("reductions", ((3,),), lambda x, p: (x * p).sum(1) * (x * p).mean(1) + (x * p).prod(1)),
    Row("variance", ((3,),), lambda x, p: (x * p).var(1) + (x * p).std(1) + (x * p).norm(dim=1)),
    Row("scans", ((3,),), lambda x, p: (x * p).cumsum(1) * (x * p).cumprod(1)),
    Row("shapes", ((3,),), lambda x, p: F.pad(torch.cat([x * p, (x * p).flip(1)], 1), (1, 2)).roll(1, 1) * p[0]),
    Row("choices", ((3,),), lambda x, p: torch.where(x.real > 0, x * p, p * p).masked_fill(x.imag > 1, 1j)),
    Row("by index", ((5, 3),), lambda x, p: p[torch.tensor([0, 2, 2, 4])][:, [2, 0]] ** 2 * x[:, :2]),
    Row("in place", ((3,),), assigned, whole="samples mix behind tape.alias_update"),
    Row("modrelu", ((3,), (3,)), modrelu, real=(1,)),
    Row("attention", ((3, 3), (3, 3)), attention, matrices=True),
    Row("standardised", ((3,),), standardised),
    Row("solve", ((3, 3),), lambda x, w: torch.linalg.solve(w + 3 * torch.eye(3), x), matrices=True),
    Row("determinants", ((3, 3),), lambda x, w: x * torch.linalg.det(w) + x * torch.linalg.slogdet(w)[1]),
    Row("inverse", ((3, 3),), lambda x, w: x @ torch.linalg.inv(w + 2 * torch.eye(3)) @ torch.matrix_exp(0.3 * w)),
    Row("Cholesky", ((3, 3),), lambda x, w: x @ torch.linalg.cholesky(w @ w.mH + torch.eye(3))),
]  # fmt: skip


def bent(y: Tensor) -> Tensor:
    """A real loss of each sample that is no function of y alone, but of y and its conjugate."""
    y = y.reshape(len(y), -1)
    if not y.is_complex():
        return (y.sin() + y * y).sum(1)
    k = torch.linspace(0.5, 1.5, y.shape[1], dtype=torch.float64)
    return (y.real.sin() * k + y.imag * y.real * k.flip(0) + (y * y.conj()).real).sum(1)


def problem(row: Row) -> Problem:
    torch.manual_seed(len(row.name))
    x = numbers(4, 3, 3) if row.matrices else numbers(4, 3)
    dtypes = [torch.float64 if i in row.real else C for i in range(len(row.shapes))]
    params = [numbers(*s, dtype=t).requires_grad_() for s, t in zip(row.shapes, dtypes, strict=True)]
    direction = [0.03 * torch.randn_like(p) for p in params]

    def terms() -> Tensor:
        return bent(row.function(x, *params))

    return Problem(params, direction, lambda: terms().mean(), terms, batch_size=4)


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_against_both_truths(row: Row) -> None:
    found = problem(row)
    report = check_problem(lambda dtype: found, single=False, exact=None)
    if report.failures:
        raise RuleCheckError(report)
    with curvestep.record(batch_size=4) as tape:
        found.loss().backward()
    if tape.curvature(found.params, found.direction).per_sample_exact:
        check_parts(tape, found, row.whole)


@pytest.mark.parametrize("memory", ["split", 0])
@pytest.mark.parametrize("row", ROWS[-30:], ids=[row.name for row in ROWS[-30:]])
def test_whatever_the_tape_holds(row: Row, memory: Any) -> None:
    found = problem(row)
    totals = []
    for how in ("keep", memory):
        with curvestep.record(batch_size=4, memory=how) as tape:
            found.loss().backward()
        totals.append(tape.curvature(found.params, found.direction).total)
    torch.testing.assert_close(totals[1], totals[0], rtol=1e-10, atol=1e-12)  # terms are added in another order


def test_the_gradient_is_that_of_torch() -> None:
    found = problem(ROWS[0])
    still = [torch.zeros_like(p) for p in found.params]
    with curvestep.record() as tape:
        found.loss().backward()
    (given,) = tape.gradient_along(found.params, still, 0.0)
    torch.testing.assert_close(given, found.params[0].grad)


@pytest.mark.parametrize("function", [torch.linalg.eigvalsh, torch.linalg.svdvals], ids=["eigh", "svd"])
def test_decompositions_of_complex_matrices_are_refused(function: Any) -> None:
    w = numbers(3, 3).requires_grad_()
    with curvestep.record() as tape:
        function(w @ w.mH).sum().backward()
    with pytest.raises(curvestep.MissingRuleError, match="a real matrix was needed"):
        tape.curvature([w], [torch.ones_like(w)])
