"""Values that change without autograd's knowledge: writes to parameters, stale leaves, shared memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import curvestep
from tests.fuzz.case import Claim, derivatives, directions, joined, product, values_along, whole
from tests.fuzz.findings.finding import Table

FINDINGS = Table()


def _masked(write: Callable[[nn.Linear], object]) -> Iterator[Claim]:
    """A linear layer whose weight is written to inside the block; the truth holds for the weight as written."""
    lin, x, y = nn.Linear(4, 2), torch.randn(5, 4), torch.randn(5, 2)
    lin.weight.data.mul_(3)
    params = list(lin.parameters())
    d = directions(params)

    def loss() -> Tensor:
        return F.mse_loss(torch.tanh(lin(x)), y)

    with curvestep.record() as tape:
        write(lin)
        loss().backward()
    yield from whole(tape.curvature(params, d), loss, params, d)


@FINDINGS.row("attack 1")
def weight_data_is_masked() -> Iterator[Claim]:
    mask = torch.tensor([[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 1.0, 1.0]])
    return _masked(lambda lin: lin.weight.data.mul_(mask))


@FINDINGS.row("attack 1")
def weight_is_clamped_under_no_grad() -> Iterator[Claim]:
    def write(lin: nn.Linear) -> None:
        with torch.no_grad():
            lin.weight.clamp_(-0.5, 0.5)

    return _masked(write)


@FINDINGS.row("attack 1")
def weight_is_renormed_under_no_grad() -> Iterator[Claim]:
    def write(lin: nn.Linear) -> None:
        with torch.no_grad():
            lin.weight.renorm_(2, 0, 0.5)

    return _masked(write)


@FINDINGS.row("attack 1")
def weight_data_is_replaced_by_its_renorm() -> Iterator[Claim]:
    def write(lin: nn.Linear) -> None:
        lin.weight.data = torch.renorm(lin.weight.data, 2, 0, 0.5)

    return _masked(write)


@FINDINGS.row("attack 1")
def embedding_with_max_norm() -> Iterator[Claim]:
    table = nn.Embedding(6, 3, max_norm=1.0)
    i, w = torch.tensor([0, 2, 5, 2]), torch.randn(3, requires_grad=True)
    params = [table.weight, w]
    d = directions(params)
    with curvestep.record() as tape:
        (table(i) * w).exp().sum(1).mean().backward()

    def loss() -> Tensor:
        return (F.embedding(i, table.weight) * w).exp().sum(1).mean()

    yield from whole(tape.curvature(params, d), loss, params, d)


@FINDINGS.row("attack 3")
def parameter_used_frozen_then_unfrozen() -> Iterator[Claim]:
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    x, y = torch.randn(5, 3), torch.randn(5, 1)
    params = list(net.parameters())
    d = directions(params)
    frozen = net[0].weight

    def loss() -> Tensor:
        frozen.requires_grad_(False)
        first = net(x).pow(2).mean()
        frozen.requires_grad_(True)
        return first + F.mse_loss(net(x), y)

    with curvestep.record() as tape:
        loss().backward()
    yield from whole(tape.curvature(params, d), loss, params, d)


def _gradient_changed(change: Callable[[list[Tensor], Callable[[], Tensor]], object]) -> Iterator[Claim]:
    """A bias that is added through a view, so that its gradient and the kept cotangent may be one tensor."""
    W, pos, x = torch.randn(5, 3, requires_grad=True), torch.randn(5, requires_grad=True), torch.randn(1, 3)
    params = [W, pos]
    d = directions(params)

    def loss() -> Tensor:
        return (torch.tanh(x @ W.t()) + pos.unsqueeze(0)).exp().mean()

    with curvestep.record() as tape:
        loss().backward()
    change(params, loss)
    yield from whole(tape.curvature(params, d), loss, params, d)


@FINDINGS.row("attack 4")
def gradient_clipped_after_the_block() -> Iterator[Claim]:
    return _gradient_changed(lambda params, loss: nn.utils.clip_grad_norm_(params, 0.1))


@FINDINGS.row("attack 4")
def gradient_zeroed_after_the_block() -> Iterator[Claim]:
    return _gradient_changed(lambda params, loss: torch.optim.SGD(params).zero_grad(set_to_none=False))


@FINDINGS.row("attack 4")
def gradient_accumulated_after_the_block() -> Iterator[Claim]:
    return _gradient_changed(lambda params, loss: loss().backward())


@FINDINGS.row("attack 6")
def one_element_written_without_kept_cotangents() -> Iterator[Claim]:
    x, w = torch.randn(3, 2), torch.randn(2, 2, requires_grad=True)
    d = directions([w])

    def loss() -> Tensor:
        h = torch.tanh(x @ w).clone()
        h[0, 0].mul_(h[1, 1].clone())
        return h.exp().mean()

    for memory in (0, 0.3):
        with curvestep.record(memory=memory) as tape:
            loss().backward()
        for form in ("auto", "tangent"):
            yield from whole(tape.curvature([w], d, form=form), loss, [w], d)


def _moved(
    ask: Callable[[curvestep.Tape, list[Tensor], list[Tensor]], object],
    true: Callable[[Callable[[], Tensor], list[Tensor], list[Tensor]], object],
    move: Callable[[Tensor, Tensor], object],
    memory: str = "keep",
) -> Iterator[Claim]:
    """An answer after the parameter or the data changed: that of the recorded point, or none."""
    x, w = torch.randn(4, 3), torch.randn(3, 3, requires_grad=True)
    d = directions([w])

    def loss() -> Tensor:
        return torch.tanh(torch.tanh(x @ w) @ w).pow(2).sum(1).mean()

    with curvestep.record(memory=memory) as tape:  # pyright: ignore[reportArgumentType]
        loss().backward()
    truth = true(loss, [w], d)
    move(w, x)
    yield Claim("answer at the recorded point", ask(tape, [w], d), truth)


def _step(w: Tensor, x: Tensor) -> None:
    with torch.no_grad():
        w.add_(1.0)


def _replace(w: Tensor, x: Tensor) -> None:
    w.data = w.data + 1.0


def _curved(loss: Callable[[], Tensor], params: list[Tensor], d: list[Tensor]) -> Tensor:
    return derivatives(loss, params, d)[1]


def _gradient(loss: Callable[[], Tensor], params: list[Tensor], d: list[Tensor]) -> Tensor:
    return joined(torch.autograd.grad(loss(), params))


def _measured(tape: curvestep.Tape, params: list[Tensor], d: list[Tensor]) -> Tensor:
    return tape.curvature(params, d).total


@FINDINGS.row("attack 10")
def loss_along_after_a_step() -> Iterator[Claim]:
    return _moved(
        lambda tape, p, d: tape.loss_along(p, d, [0.0, 0.5]), lambda f, p, d: values_along(f, p, d, [0.0, 0.5]), _step
    )


@FINDINGS.row("attack 10")
def hvp_after_a_step() -> Iterator[Claim]:
    return _moved(lambda tape, p, d: joined(tape.hvp(p, d)), product, _step)


@FINDINGS.row("attack 10")
def gradient_along_after_a_step() -> Iterator[Claim]:
    return _moved(lambda tape, p, d: joined(tape.gradient_along(p, d, 0.0)), _gradient, _step)


@FINDINGS.row("attack 10")
def curvature_after_the_data_of_a_parameter_were_replaced() -> Iterator[Claim]:
    return _moved(_measured, _curved, _replace, memory="split")


@FINDINGS.row("attack 10")
def curvature_after_a_write_to_the_data_of_a_parameter() -> Iterator[Claim]:
    return _moved(_measured, _curved, lambda w, x: w.data.add_(1.0))


@FINDINGS.row("attack 10")
def curvature_after_a_write_to_the_data_of_the_batch() -> Iterator[Claim]:
    return _moved(_measured, _curved, lambda w, x: x.data.normal_())


@FINDINGS.row("attack 10")
def curvature_after_a_write_through_numpy() -> Iterator[Claim]:
    return _moved(_measured, _curved, lambda w, x: x.numpy().fill(2.0))


@FINDINGS.row("attack 29")
def curvature_after_a_fused_step() -> Iterator[Claim]:
    return _moved(_measured, _curved, lambda w, x: torch.optim.SGD([w], lr=1.0, fused=True).step())
