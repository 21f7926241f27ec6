"""Laws of dᵀ∇²J d on drawn networks, drawn weights and drawn directions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import curvestep
from curvestep.engine import Curvature

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "tanh": nn.Tanh, "gelu": nn.GELU, "silu": nn.SiLU, "relu": nn.ReLU, "softplus": nn.Softplus,
}  # fmt: skip
NORMS: dict[str, Callable[[int], nn.Module]] = {
    "none": lambda width: nn.Identity(), "layer": nn.LayerNorm, "batch": nn.BatchNorm1d,
}  # fmt: skip

# Sums of some hundred float64 products of numbers of order one: rounding is near 1e-14, a broken law is near 1.
RELATIVE = 1e-10


class Net(nn.Module):
    """A drawn dense network: widths, activation, normalisation, residual sums where widths allow."""

    def __init__(self, widths: list[int], activation: str, norm: str, residual: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip([4, *widths], [*widths, 3], strict=True))
        self.norms = nn.ModuleList(NORMS[norm](width) for width in widths)
        self.activation, self.residual = ACTIVATIONS[activation](), residual

    def forward(self, x: Tensor) -> Tensor:
        for layer, norm in zip(self.layers[:-1], self.norms, strict=True):
            y = self.activation(norm(layer(x)))
            x = x + y if self.residual and y.shape == x.shape else y
        return self.layers[-1](x)


nets = st.builds(
    Net,
    st.lists(st.integers(2, 5), min_size=1, max_size=3),
    st.sampled_from(sorted(ACTIVATIONS)),
    st.sampled_from(sorted(NORMS)),
    st.booleans(),
)
# without batch statistics a sample's loss depends on that sample alone
apart = st.builds(
    Net,
    st.lists(st.integers(2, 5), min_size=1, max_size=3),
    st.sampled_from(sorted(ACTIVATIONS)),
    st.sampled_from(["none", "layer"]),
    st.booleans(),
)
seeds = st.integers(0, 10_000)
few = settings(max_examples=15, phases=[Phase.explicit, Phase.reuse, Phase.generate])  # a failure needs no shrinking


def drawn(net: Net, seed: int, batch: int = 5) -> tuple[list[Tensor], Tensor, Tensor, Callable[[], list[Tensor]]]:
    """Parameters, a batch, and a source of directions."""
    torch.manual_seed(seed)
    net.double()
    for p in net.parameters():
        nn.init.normal_(p, std=0.6)
    params: list[Tensor] = list(net.parameters())
    x, y = torch.randn(batch, 4, dtype=torch.float64), torch.randint(3, (batch,))
    return params, x, y, lambda: [torch.randn_like(p) for p in params]


def tape_of(net: nn.Module, x: Tensor, y: Tensor) -> curvestep.Tape:
    with curvestep.record() as tape:
        F.cross_entropy(net(x), y).backward()
    return tape


def along(net: nn.Module, x: Tensor, y: Tensor, params: list[Tensor], d: list[Tensor]) -> Curvature:
    return tape_of(net, x, y).curvature(params, d)


def rows(q: Curvature) -> Tensor:
    assert q.per_sample is not None and q.per_sample_exact
    return q.per_sample


def close(a: Tensor, b: Tensor, scale: Tensor) -> None:
    assert (a - b).abs().max() <= RELATIVE * max(float(scale.abs().max()), 1e-12), f"{a} is not {b}"


@few
@given(nets, seeds, st.floats(-30, 30).filter(lambda a: abs(a) > 1e-3))
def test_quadratic_in_the_direction(net: Net, seed: int, alpha: float) -> None:
    params, x, y, draw = drawn(net, seed)
    d = draw()
    tape = tape_of(net, x, y)
    one, scaled = tape.curvature(params, d), tape.curvature(params, [alpha * t for t in d])
    close(rows(scaled), alpha**2 * rows(one), alpha**2 * rows(one))
    close(scaled.slope, alpha * one.slope, alpha * one.slope)


@few
@given(nets, seeds)
def test_parallelogram(net: Net, seed: int) -> None:
    params, x, y, draw = drawn(net, seed)
    a, b = draw(), draw()
    tape = tape_of(net, x, y)
    plus = rows(tape.curvature(params, [s + t for s, t in zip(a, b, strict=True)]))
    minus = rows(tape.curvature(params, [s - t for s, t in zip(a, b, strict=True)]))
    sides = 2 * rows(tape.curvature(params, a)) + 2 * rows(tape.curvature(params, b))
    close(plus + minus, sides, plus.abs() + minus.abs())


@few
@given(nets, seeds)
def test_the_hessian_is_symmetric_and_agrees_with_the_curvature(net: Net, seed: int) -> None:
    params, x, y, draw = drawn(net, seed)
    a, b = draw(), draw()
    tape = tape_of(net, x, y)
    of_a, of_b = tape.hvp(params, a), tape.hvp(params, b)

    def dot(left: list[Tensor], right: list[Tensor]) -> Tensor:
        return torch.stack([(s * t).sum() for s, t in zip(left, right, strict=True)])

    size = dot(of_a, of_a).sum().sqrt() * dot(b, b).sum().sqrt()
    close(dot(of_a, b).sum(), dot(of_b, a).sum(), size)
    close(tape.curvature(params, a).total, dot(of_a, a).sum(), size)


@few
@given(nets, seeds)
def test_every_form_has_the_same_total(net: Net, seed: int) -> None:
    params, x, y, draw = drawn(net, seed)
    d = draw()
    tape = tape_of(net, x, y)
    q = tape.curvature(params, d)
    for other in (
        tape.curvature(params, d, form="tangent"),
        tape.curvature(params, d, form="taylor"),
        tape.curvature(params, d, per_sample=False),
    ):
        close(other.total, q.total, rows(q))
    close(rows(tape.curvature(params, d, form="taylor")), rows(q), rows(q))


@few
@given(nets, seeds)
def test_the_total_is_the_mean_of_the_samples(net: Net, seed: int) -> None:
    params, x, y, draw = drawn(net, seed)
    q = along(net, x, y, params, draw())
    close(rows(q).mean(), q.total, rows(q))


@few
@given(nets, seeds)
def test_permuting_the_samples_permutes_their_curvatures(net: Net, seed: int) -> None:
    params, x, y, draw = drawn(net, seed)
    d, order = draw(), torch.randperm(len(x))
    there = rows(along(net, x, y, params, d))
    close(rows(along(net, x[order], y[order], params, d)), there[order], there)


@few
@given(apart, seeds)
def test_a_batch_is_made_of_its_parts(net: Net, seed: int) -> None:
    params, x, y, draw = drawn(net, seed, batch=7)
    d = draw()
    whole = rows(along(net, x, y, params, d))
    parts = torch.cat([rows(along(net, x[s], y[s], params, d)) for s in (slice(0, 3), slice(3, 7))])
    close(parts, whole, whole)


@few
@given(nets, seeds)
def test_frozen_and_unused_parameters_add_nothing(net: Net, seed: int) -> None:
    params, x, y, draw = drawn(net, seed)
    d = draw()
    unused = torch.randn(3, dtype=torch.float64, requires_grad=True)
    tape = tape_of(net, x, y)
    q = tape.curvature(params, d)
    more = tape.curvature([*params, unused], [*d, torch.ones(3, dtype=torch.float64)])
    assert torch.equal(more.total, q.total) and torch.equal(rows(more), rows(q))
    # freezing the first layer is the same as not moving it
    still = [torch.zeros_like(t) if i < 2 else t for i, t in enumerate(d)]
    held = tape.curvature(params, still)
    for p in params[:2]:
        p.requires_grad_(False)
    frozen = along(net, x, y, params[2:], d[2:])
    close(rows(frozen), rows(held), rows(q))


@few
@given(nets, seeds)
def test_the_slope_is_the_gradient_along_the_direction(net: Net, seed: int) -> None:
    params, x, y, draw = drawn(net, seed)
    d = draw()
    q = along(net, x, y, params, d)
    products = torch.stack([(p.grad * t).sum() for p, t in zip(params, d, strict=True) if p.grad is not None])
    close(q.slope, products.sum(), products.abs().sum())


@few
@given(nets, seeds, st.floats(-0.5, 0.5))
def test_the_loss_along_a_line_is_the_loss_there(net: Net, seed: int, step: float) -> None:
    params, x, y, draw = drawn(net, seed)
    d = draw()
    values = tape_of(net, x, y).loss_along(params, d, [0.0, step])
    here = F.cross_entropy(net(x), y)
    with torch.no_grad():
        for p, t in zip(params, d, strict=True):
            p += step * t
    close(values, torch.stack([here, F.cross_entropy(net(x), y)]).detach(), values)


@pytest.mark.parametrize("power", [1, 2, 3])
def test_float32_rounds_and_no_more(power: int) -> None:
    """The error of float32 stays near its rounding when the direction is scaled by a power of a hundred."""
    torch.manual_seed(power)
    net = Net([5, 5], "gelu", "layer", True)
    params, x, y, draw = drawn(net, power)
    d = [t * 100.0**-power for t in draw()]
    exact = along(net, x, y, params, d)
    net.float()
    single = along(net, x.float(), y, list(net.parameters()), [t.float() for t in d])
    # 2^-24 over about thirty operations, added up without luck
    assert abs(float(single.total / exact.total) - 1) < 1e-4
