"""Gradient accumulation: recordings of micro-batches make the step of one recording of the whole batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from curvestep._errors import RecordingError
from curvestep.engine import Tape
from curvestep.optim import AbstractRecordedOptimizer, RescaledAdam, RescaledSGD
from tests.methods import CASE_IDS, CASES, Method, Options

BATCH, STEPS = 22, 4


def make_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).double()


def batches() -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        yield (
            torch.randn(BATCH, 6, generator=generator, dtype=torch.float64),
            torch.randint(3, (BATCH,), generator=generator),
        )


def train(
    make: Callable[..., AbstractRecordedOptimizer], parts: int, total: Callable[[float, int], float]
) -> list[Any]:
    """Train on batches cut into micro-batches, the last one smaller where they do not come out even."""
    net = make_net()
    optimizer = make(net.parameters())
    found: list[Any] = []
    for inputs, targets in batches():
        optimizer.zero_grad()
        size = -(-BATCH // parts)
        for x, y in zip(inputs.split(size), targets.split(size), strict=True):
            with optimizer.record():
                (functional.cross_entropy(net(x), y) * total(len(x) / BATCH, BATCH)).backward()
        optimizer.step()
        assert optimizer.last_step is not None
        found.append(optimizer.last_step)
    return [found, [p.detach().clone() for p in net.parameters()]]


def assert_alike(one: list[Any], other: list[Any]) -> None:
    """Rounding of sums in another order, carried through four steps: 1e-12 of the largest entry."""
    for first, second in zip(one[0], other[0], strict=True):
        assert first.outcome is second.outcome
        for name in ("loss", "slope", "curvature", "absolute_curvature", "step_size", "direction_norm"):
            a, b = getattr(first, name), getattr(second, name)
            assert (a is None) == (b is None)
            assert a is None or a == pytest.approx(b, rel=1e-11, abs=1e-14), name
    for a, b in zip(one[1], other[1], strict=True):
        assert (a - b).abs().max() <= 1e-12 * max(1.0, float(b.abs().max()))


def mean(weight: float, batch: int) -> float:
    """The loss is the mean over the batch."""
    del batch
    return weight


@pytest.mark.parametrize(("method", "options"), CASES, ids=CASE_IDS)
def test_micro_batches_make_the_step_of_the_batch(method: Method, options: Options) -> None:
    def make(parameters: Any) -> AbstractRecordedOptimizer:
        return method.make(parameters, **{**method.learns, **options})

    whole = train(make, 1, mean)
    for parts in (2, 4, 8):
        assert_alike(train(make, parts, mean), whole)


@pytest.mark.parametrize("samples", [1, 5, 0.3, 0.5, 22, None])
@pytest.mark.parametrize("every", [1, 3])
def test_a_part_of_the_batch_is_the_same_part(samples: float | None, every: int) -> None:
    def make(parameters: Any) -> AbstractRecordedOptimizer:
        return RescaledAdam(
            parameters,
            lr=0.1,
            curvature_samples=samples,
            curvature_every=every,
            max_relative_step=0.1,
            weight_decay=0.01,
        )

    whole = train(make, 1, mean)
    for parts in (2, 4, 8):
        assert_alike(train(make, parts, mean), whole)


@pytest.mark.parametrize("factor", [1.0, 64.0])
def test_a_sum_of_samples_keeps_its_meaning(factor: float) -> None:
    """Losses that are sums over samples, or scaled: the recorded loss is the one that was differentiated."""

    def total(weight: float, batch: int) -> float:
        return factor * weight * batch

    def make(parameters: Any) -> AbstractRecordedOptimizer:
        return RescaledSGD(parameters, lr=0.5, weight_decay=0.01)

    whole = train(make, 1, total)
    assert whole[0][0].loss > 10.0 * factor
    for parts in (2, 4, 8):
        assert_alike(train(make, parts, total), whole)


def loss_of(net: nn.Module, batch: int = 0) -> Tensor:
    inputs, targets = list(batches())[batch]
    return functional.cross_entropy(net(inputs), targets)


@pytest.fixture
def pair() -> tuple[nn.Module, RescaledSGD]:
    net = make_net()
    return net, RescaledSGD(net.parameters())


def test_a_recording_whose_gradients_were_cleared_is_dropped(pair: tuple[nn.Module, RescaledSGD]) -> None:
    net, optimizer = pair
    with optimizer.record() as skipped:
        loss_of(net, 0).backward()
    net.zero_grad()
    with optimizer.record():
        loss_of(net, 1).backward()
    assert skipped.released
    assert torch.equal(optimizer.step(), loss_of(make_net(), 1).detach())


def test_zero_grad_inside_the_recording_drops_the_former_ones_alone(pair: tuple[nn.Module, RescaledSGD]) -> None:
    net, optimizer = pair
    for batch in (0, 1):
        with optimizer.record():
            optimizer.zero_grad()
            loss_of(net, batch).backward()
    assert torch.equal(optimizer.step(), loss_of(make_net(), 1).detach())


def test_a_micro_batch_without_a_backward_counts_for_nothing(pair: tuple[nn.Module, RescaledSGD]) -> None:
    net, optimizer = pair
    with optimizer.record():
        loss_of(net, 0)
    with optimizer.record():
        loss_of(net, 1).backward()
    assert torch.equal(optimizer.step(), loss_of(make_net(), 1).detach())


def test_a_closure_that_does_nothing_uses_the_recording_before_it(pair: tuple[nn.Module, RescaledSGD]) -> None:
    """Lightning's manual optimization hands step() such a closure."""
    net, optimizer = pair
    with optimizer.record():
        loss_of(net, 0).backward()
    optimizer.step(lambda: None)
    assert optimizer.last_step is not None and optimizer.last_step.outcome.moved


def test_several_backwards_in_one_recording_are_refused_with_the_loop_to_write(
    pair: tuple[nn.Module, RescaledSGD],
) -> None:
    net, optimizer = pair
    with optimizer.record():
        for batch in (0, 1):
            (loss_of(net, batch) / 2).backward()
    with pytest.raises(RecordingError, match=r"2 ran.*recording of its own.*all recordings since the last step"):
        optimizer.step()


@pytest.mark.parametrize("every", [1, 3])
def test_measurements_take_the_parts_of_the_batch_in_turn(every: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    measure = Tape.curvature

    def spied(tape: Tape, *args: Any, **options: Any) -> Any:
        if "part" in options:  # not the look at the whole batch's slope
            seen.append(options["part"])
        return measure(tape, *args, **options)

    monkeypatch.setattr(Tape, "curvature", spied)
    net = make_net()
    optimizer = RescaledAdam(
        net.parameters(), lr=0.1, curvature_samples=5, curvature_every=every, max_relative_step=1.0
    )
    for step in range(24):
        if step == 12:  # what is saved and loaded goes on with the part that is due
            saved = optimizer.state_dict()
            optimizer = RescaledAdam(
                net.parameters(), lr=0.1, curvature_samples=5, curvature_every=every, max_relative_step=1.0
            )
            optimizer.load_state_dict(saved)
        optimizer.zero_grad()
        with optimizer.record():
            loss_of(net, step % STEPS).backward()
        optimizer.step()
    assert seen == list(range(len(seen))) and len(seen) >= 24 // every // 2
