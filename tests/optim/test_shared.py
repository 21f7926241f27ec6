"""Several optimizers of one loss, each with parameters of its own: one recording, one point, a direction each."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import curvestep
from curvestep import Auto, RecordingError, RescaledAdam, RescaledSGD
from curvestep.engine import open_recorder
from tests.fuzz.case import derivatives

PAIRS: dict[str, tuple[Any, Any]] = {
    "SGD and Adam": (RescaledSGD, RescaledAdam),
    "a lazy Adam and LQA": (lambda p: RescaledAdam(p, lr=0.5, curvature_every=2, averaging=8.0), curvestep.LQA),
    "GeN and ALIG": (curvestep.GeN, curvestep.ALIG),
    "ALIG and Adam": (curvestep.ALIG, RescaledAdam),
    "torch's SGD and ours": (lambda p: torch.optim.SGD(p, lr=0.1), RescaledSGD),
    "fused Adam and ours": (lambda p: torch.optim.Adam(p, fused=True), RescaledAdam),
}


class Halves:
    """A net of two halves and the loss of both."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(4, 5).double(), nn.Linear(5, 2).double()
        self.x, self.y = torch.randn(8, 4, dtype=torch.float64), torch.randn(8, 2, dtype=torch.float64)

    @property
    def params(self) -> list[list[Tensor]]:
        return [list(self.first.parameters()), list(self.last.parameters())]

    def loss(self) -> Tensor:
        return F.mse_loss(self.last(torch.tanh(self.first(self.x))), self.y)


def trained(pair: tuple[Any, Any], order: tuple[int, int]) -> list[Tensor]:
    """Parameters after four steps."""
    net = Halves()
    optimizers = [make(params) for make, params in zip(pair, net.params, strict=True)]
    for _ in range(4):
        for optimizer in optimizers:
            optimizer.zero_grad()
        ours = [o for o in optimizers if not type(o).__module__.startswith("torch.")]
        if len(ours) == 1:
            with ours[0].record():
                net.loss().backward()
        else:
            with ours[0].record(), ours[1].record():
                net.loss().backward()
        for index in order:
            optimizers[index].step()
    return [p.detach() for params in net.params for p in params]


@pytest.mark.parametrize("pair", PAIRS.values(), ids=list(PAIRS))
def test_it_does_not_matter_which_steps_first(pair: tuple[Any, Any]) -> None:
    # the same numbers in the same order, whichever was moved meanwhile
    torch.testing.assert_close(trained(pair, (0, 1)), trained(pair, (1, 0)), rtol=0, atol=0)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_auto_does_not_share_and_says_so_at_its_first_step(order: tuple[int, int]) -> None:
    """Its windows end later, with its averaged parameters in the model: the others would measure another loss."""
    net = Halves()
    optimizers = [Auto(net.params[0]), RescaledAdam(net.params[1])]
    first, second = (optimizers[index] for index in order)
    with pytest.raises(RecordingError, match=r"Auto measures.*a recording that no other optimizer shares was needed"):
        with first.record(), second.record():
            net.loss().backward()
    assert open_recorder() is None
    for optimizer in optimizers:
        optimizer.zero_grad()
    with optimizers[0].record():
        net.loss().backward()
    optimizers[0].step()
    assert optimizers[0].last_step is not None and optimizers[0].last_step.outcome.moved


@pytest.mark.parametrize("memory", ["keep", "split", 0.5])
def test_each_measures_along_its_own_direction_at_the_recorded_point(memory: Any) -> None:
    net = Halves()
    optimizers = [RescaledSGD(params) for params in net.params]
    truths = []
    for params in net.params:
        gradients = [g.detach() for g in torch.autograd.grad(net.loss(), params)]
        truths.append(derivatives(net.loss, params, gradients))
    with optimizers[0].record(memory=memory), optimizers[1].record():
        net.loss().backward()
    for optimizer, (slope, curvature) in zip(optimizers, truths, strict=True):
        optimizer.step()
        step = optimizer.last_step
        assert step is not None and step.slope is not None and step.curvature is not None
        assert step.slope == pytest.approx(float(slope), rel=1e-12)  # some hundred float64 roundings
        assert step.curvature == pytest.approx(float(curvature), rel=1e-11)


def test_who_measures_nothing_holds_nothing_but_for_one_who_does() -> None:
    net = Halves()
    held = []
    for memory, alone in ((None, True), (None, False), ("keep", True), ("split", False)):
        optimizers = [curvestep.ALIG(net.params[0]), RescaledAdam(net.params[1])]
        with optimizers[0].record(memory=memory) as tape:
            if alone:
                net.loss().backward()
            else:
                with optimizers[1].record():
                    net.loss().backward()
        held.append(sum(slot.cotangent is not None for slot in tape.recording.log.slots))
        params = [p for p in net.params[0] if p.grad is not None]
        found = tape.curvature(params, [p.detach() for p in params], per_sample=False)
        torch.testing.assert_close(found.slope, sum((p.detach() * p.grad).sum() for p in params if p.grad is not None))
        for optimizer in optimizers[: 1 if alone else 2]:
            optimizer.step()
        for optimizer in optimizers:
            optimizer.zero_grad()
    assert held[0] == held[3] == 1 < held[1] == held[2]  # the loss has its own in any case


def test_a_parameter_that_has_moved_is_not_asked_about() -> None:
    net = Halves()
    first, last = RescaledSGD(net.params[0]), RescaledSGD(net.params[1])
    with first.record(), last.record() as tape:
        net.loss().backward()
    before = tape.loss.clone()
    first.step()
    zeros = [[torch.zeros_like(p) for p in params] for params in net.params]
    assert tape.loss_along(net.params[1], zeros[1], [0.0])[0].item() == pytest.approx(before.item(), rel=1e-14)
    with pytest.raises(RecordingError, match="has moved it since"):
        tape.loss_along(net.params[0], zeros[0], [0.0])


def test_a_step_of_one_frees_nothing_of_the_other_and_both_free_all() -> None:
    net = Halves()
    first, last = RescaledSGD(net.params[0]), RescaledSGD(net.params[1])
    with first.record() as one, last.record() as other:
        net.loss().backward()
    recording = other.recording
    assert one.recording is recording
    first.step()
    assert one.released and not other.released
    last.zero_grad()
    assert recording.released and not recording.waiting


def test_within_its_own_recording_another_is_refused() -> None:
    net = Halves()
    optimizer = RescaledSGD(net.params[0])
    with pytest.raises(RecordingError, match="another one is still open"), optimizer.record(), optimizer.record():
        pass


def test_two_numbers_of_samples_are_refused() -> None:
    net = Halves()
    first, last = RescaledSGD(net.params[0]), RescaledSGD(net.params[1])
    with pytest.raises(RecordingError, match="8 and 4 were stated"), first.record(8), last.record(4):
        pass
