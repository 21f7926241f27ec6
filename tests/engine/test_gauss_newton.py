"""The generalised Gauss-Newton form against dᵀ Jᵀ ∇²ℓ J d written out by double backward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

import curvestep
from tests.engine.graphs import GRAPHS, dense, pre_norm
from tests.engine.nets import WeightNorm
from tests.engine.parts import check_part
from tests.engine.test_laws import Net, apart, close, drawn, few, nets, rows, seeds, tape_of


@dataclass(frozen=True)
class Row:
    """A network f and the loss ℓ_s of each sample as a function of what f returns."""

    name: str
    build: Callable[[], nn.Module]
    inputs: Callable[[], tuple[Tensor, Tensor]]
    loss: Callable[[Tensor, Tensor], Tensor]
    each: Callable[[Tensor, Tensor], Tensor]


def features(classes: int = 3) -> tuple[Tensor, Tensor]:
    return torch.randn(5, 4, dtype=torch.float64), torch.randint(classes, (5,))


def onehot(y: Tensor) -> Tensor:
    return F.one_hot(y, 3).double()


def tokens() -> tuple[Tensor, Tensor]:
    return torch.randint(7, (3, 5)), torch.randint(7, (3, 5))


ROWS = [
    Row("dense, cross-entropy", lambda: dense(4, 6, 5, 3), features, F.cross_entropy,
        lambda out, y: F.cross_entropy(out, y, reduction="none")),
    Row("dense, squares", lambda: dense(4, 6, 3), features, lambda out, y: F.mse_loss(out, onehot(y)),
        lambda out, y: (out - onehot(y)).square().mean(1)),
    Row("dense, binary from logits", lambda: dense(4, 6, 3), features,
        lambda out, y: F.binary_cross_entropy_with_logits(out, onehot(y)),
        lambda out, y: F.binary_cross_entropy_with_logits(out, onehot(y), reduction="none").mean(1)),
    Row("squares by hand", lambda: dense(4, 6, 3), features, lambda out, y: ((out - onehot(y)) ** 2).sum(1).mean(),
        lambda out, y: ((out - onehot(y)) ** 2).sum(1)),
    Row("an activation behind the last weight", lambda: dense(4, 6, 3), features,
        lambda out, y: F.binary_cross_entropy(torch.sigmoid(out), onehot(y)),
        lambda out, y: F.binary_cross_entropy(torch.sigmoid(out), onehot(y), reduction="none").mean(1)),
    Row("batch and layer norm", lambda: nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.GELU(), nn.LayerNorm(6),
                                                      nn.Linear(6, 3)), features, F.cross_entropy,
        lambda out, y: F.cross_entropy(out, y, reduction="none")),
    Row("weights made from parameters", lambda: WeightNorm(), features, F.cross_entropy,
        lambda out, y: F.cross_entropy(out, y, reduction="none")),
    Row("gpt", pre_norm, tokens, lambda out, y: F.cross_entropy(out.flatten(0, 1), y.flatten()),
        lambda out, y: F.cross_entropy(out.transpose(1, 2), y, reduction="none").mean(1)),
]  # fmt: skip


def truth(net: nn.Module, x: Tensor, d: dict[str, Tensor], each: Callable[[Tensor], Tensor]) -> Tensor:
    """⟨∇²ℓ_s(f) ḟ, ḟ⟩ for each sample; ∂f[d] by double reverse, as nested jvp is wrong through some norms."""
    weights = {name: p.detach().clone().requires_grad_() for name, p in net.named_parameters()}
    with sdpa_kernel(SDPBackend.MATH):
        out = torch.func.functional_call(net, weights, (x,))
    back = torch.zeros_like(out, requires_grad=True)
    pulled = torch.autograd.grad(out, list(weights.values()), back, create_graph=True)
    slope = torch.stack([(g * d[n]).sum() for g, n in zip(pulled, weights, strict=True)]).sum()
    (moved,) = torch.autograd.grad(slope, back)
    out = out.detach().requires_grad_()
    (grad,) = torch.autograd.grad(each(out).sum(), out, create_graph=True)
    (bent,) = torch.autograd.grad((grad * moved).sum(), out)  # each ℓ_s reads its own row of the output alone
    return (bent * moved).flatten(1).sum(1)


def recorded(net: nn.Module, x: Tensor, y: Tensor, loss: Callable[[Tensor, Tensor], Tensor]) -> curvestep.Tape:
    with curvestep.record() as tape:
        loss(net(x), y).backward()
    return tape


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
@pytest.mark.parametrize("form", ["auto", "tangent", "taylor"])
def test_against_the_written_out_form(row: Row, form: Any) -> None:
    net = row.build().double()
    x, y = row.inputs()
    d = {name: 0.1 * torch.randn_like(p) for name, p in net.named_parameters()}
    tape = recorded(net, x, y, row.loss)
    q = tape.curvature(list(net.parameters()), list(d.values()), kind="ggn", form=form)
    each = truth(net, x, d, lambda out: row.each(out, y))
    # below the loss only first tangents are used, so even batch norm in training leaves the split exact
    close(rows(q), each, each)
    close(q.total, each.mean(), each)
    exact = tape.curvature(list(net.parameters()), list(d.values()))
    close(q.slope, exact.slope, exact.slope)
    assert (q.total - exact.total).abs() > 1e-6 * exact.total.abs(), "nothing tells the two forms apart here"


@pytest.mark.parametrize("row", [row for row in ROWS if row.name != "batch and layer norm"], ids=lambda row: row.name)
def test_of_a_part_of_the_batch(row: Row) -> None:
    net = row.build().double()
    x, y = row.inputs()
    params = list(net.parameters())
    d = [0.1 * torch.randn_like(p) for p in params]
    tape = recorded(net, x, y, row.loss)
    full = tape.curvature(params, d, kind="ggn")
    for count in range(1, len(x)):
        check_part(tape.curvature(params, d, kind="ggn", samples=count), full, count)


# -- laws -------------------------------------------------------------------------------------------------------------


@few
@given(nets, seeds)
def test_it_is_not_negative_where_the_loss_is_convex(net: Net, seed: int) -> None:
    params, x, y, draw = drawn(net, seed)
    q = rows(tape_of(net, x, y).curvature(params, draw(), kind="ggn"))
    assert (q >= -1e-12 * q.abs().max()).all()  # a term of rounding where a sample's own is zero


@few
@given(apart, seeds)
def test_of_the_last_layer_alone_it_is_the_exact_form(net: Net, seed: int) -> None:
    params, x, y, draw = drawn(net, seed)
    tape, d = tape_of(net, x, y), draw()
    last = list(net.layers[-1].parameters())
    along = [t for p, t in zip(params, d, strict=True) if any(p is w for w in last)]
    exact = rows(tape.curvature(last, along))
    close(rows(tape.curvature(last, along, kind="ggn")), exact, exact)


@few
@given(seeds, st.sampled_from(["cross-entropy", "squares"]))
def test_of_a_linear_network_it_is_the_exact_form(seed: int, name: str) -> None:
    torch.manual_seed(seed)
    net = nn.Linear(4, 3).double()
    x, y = features()
    params = list(net.parameters())
    d = [torch.randn_like(p) for p in params]
    loss = F.cross_entropy if name == "cross-entropy" else lambda out, y: F.mse_loss(out, onehot(y))
    tape = recorded(net, x, y, loss)
    exact = rows(tape.curvature(params, d))
    close(rows(tape.curvature(params, d, kind="ggn")), exact, exact)


@few
@given(nets, seeds, st.floats(0.1, 10))
def test_quadratic_in_the_direction(net: Net, seed: int, alpha: float) -> None:
    params, x, y, draw = drawn(net, seed)
    tape, d = tape_of(net, x, y), draw()
    one = rows(tape.curvature(params, d, kind="ggn"))
    close(rows(tape.curvature(params, [alpha * t for t in d], kind="ggn")), alpha**2 * one, alpha**2 * one)


@few
@given(nets, seeds, st.sampled_from(["split", 0.0, 0.3]))
def test_what_was_kept_of_the_cotangents_does_not_matter(net: Net, seed: int, memory: Any) -> None:
    params, x, y, draw = drawn(net, seed)
    d = draw()
    with curvestep.record(memory=memory) as tape:
        F.cross_entropy(net(x), y).backward()
    whole = rows(tape_of(net, x, y).curvature(params, d, kind="ggn"))
    close(rows(tape.curvature(params, d, kind="ggn")), whole, whole)


@pytest.mark.parametrize("graph", [g for g in GRAPHS if g.exact], ids=lambda graph: graph.name)
def test_rules_that_leave_out_second_terms_lose_nothing_of_the_first(graph: Any) -> None:
    problem = graph.problem(torch.float64)
    with curvestep.record() as tape:
        problem.loss().backward()
    exact = tape.curvature(problem.params, problem.direction)
    close(tape.curvature(problem.params, problem.direction, kind="ggn").slope, exact.slope, exact.slope)


# -- where the loss begins --------------------------------------------------------------------------------------------


def test_a_loss_on_hidden_units_is_part_of_the_loss_even_if_layers_run_after_it() -> None:
    first, second = nn.Linear(4, 3).double(), nn.Linear(3, 3).double()
    x, y = features()
    params = [*first.parameters(), *second.parameters()]
    d = [torch.randn_like(p) for p in params]
    with curvestep.record() as tape:
        hidden = first(x)
        aside = hidden.pow(4).sum(1).mean()
        (aside + F.cross_entropy(second(hidden), y)).backward()
    total = tape.curvature(params, d, kind="ggn").total

    both = nn.Sequential(first, second)
    names = dict(zip([n for n, _ in both.named_parameters()], d, strict=True))
    outer = truth(both, x, names, lambda out: F.cross_entropy(out, y, reduction="none")).mean()
    inner = truth(first, x, dict(zip(["weight", "bias"], d[:2], strict=True)), lambda out: out.pow(4).sum(1)).mean()
    close(total, outer + inner, outer + inner)


def test_what_counts_of_a_penalty() -> None:
    w, start = torch.tensor([2.0, 3.0], requires_grad=True), torch.tensor([1.0, 1.0])
    d = torch.tensor([1.0, 2.0])

    def ggn(penalty: Callable[[], Tensor]) -> float:
        with curvestep.record() as tape:
            penalty().backward()
        return tape.curvature([w], [d], kind="ggn").total.item()

    assert ggn(lambda: (w**2).sum()) == 0.0  # the square reads the parameter: f is w², and ℓ a sum
    assert ggn(lambda: ((w - start) ** 2).sum()) == 10.0  # the square reads a difference: ℓ is it, 2‖d‖²


def test_another_kind_is_refused() -> None:
    w = torch.tensor([2.0], requires_grad=True)
    with curvestep.record() as tape:
        (w**2).sum().backward()
    kind: Any = "fisher"
    with pytest.raises(ValueError, match="kind must be one of exact, ggn"):
        tape.curvature([w], [torch.ones(1)], kind=kind)
