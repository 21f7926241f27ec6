"""The option `curvature_precision`: what is measured follows it, training goes on with it, and it is saved."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import curvestep
from benchmarks.precision.subjects import subject

OPTIMIZERS = [curvestep.RescaledSGD, curvestep.RescaledRMSprop, curvestep.RescaledAdam]


class Training:
    """Steps of an optimizer on one batch, under bfloat16 autocast or not."""

    def __init__(self, kind: Any, name: str, *, cast: bool, **options: Any) -> None:
        self.one = subject(name, 0)
        self.net = copy.deepcopy(self.one.net)
        self.cast = cast
        self.optimizer = kind(self.net.parameters(), lr=0.5, **options)

    def step(self) -> float:
        self.optimizer.zero_grad()
        with self.optimizer.record():
            with torch.autocast("cpu", torch.bfloat16, enabled=self.cast):
                out = self.net(self.one.inputs).flatten(0, -2)
                loss = F.cross_entropy(out, self.one.targets.flatten())
            loss.backward()
        self.optimizer.step()
        return loss.item()

    def along(self, precision: Any) -> Tensor:
        """The mean absolute curvature along the gradient where the net is now."""
        with curvestep.record() as tape:
            with torch.autocast("cpu", torch.bfloat16, enabled=self.cast):
                out = self.net(self.one.inputs).flatten(0, -2)
                loss = F.cross_entropy(out, self.one.targets.flatten())
            loss.backward()
        gradients = [p.grad for p in self.net.parameters() if p.grad is not None]
        found = tape.curvature(list(self.net.parameters()), gradients, precision=precision)
        assert found.per_sample is not None
        return found.per_sample.abs().mean() / sum((g * g).sum() for g in gradients)


@pytest.mark.parametrize("precision", ["recorded", "float32", "bfloat16", "tf32"])
@pytest.mark.parametrize("cast", [False, True])
def test_the_first_step_reckons_with_the_curvature_in_that_precision(precision: Any, cast: bool) -> None:
    training = Training(curvestep.RescaledSGD, "GPT", cast=cast, curvature_precision=precision)
    expected = training.along(precision).item()
    training.step()
    found = training.optimizer.last_step.lipschitz
    # The same pass along the same gradient; sums of squares and the moving average round in float32 and float64.
    assert found == pytest.approx(expected, rel=1e-5)
    # bfloat16 shows: the precisions are not one and the same
    others = {training_value(p, cast) for p in ("recorded", "bfloat16", "float32")}
    assert len(others) == 2


def training_value(precision: Any, cast: bool) -> float:
    """What is measured before the first step."""
    return Training(curvestep.RescaledSGD, "GPT", cast=cast).along(precision).item()


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("name", ["VGG, ReLU, max pool", "BatchNorm, SiLU", "GPT"])
def test_training_in_sixteen_bits_with_curvature_in_float32(kind: Any, name: str) -> None:
    training = Training(kind, name, cast=True, curvature_precision="float32")
    losses = [training.step() for _ in range(15)]
    assert losses[-1] < 0.9 * losses[0]
    assert all(p.dtype == torch.float32 for p in training.net.parameters())


def test_training_in_float32_with_curvature_in_bfloat16_goes_the_same_way() -> None:
    losses = []
    for precision in ("recorded", "bfloat16"):
        training = Training(curvestep.RescaledAdam, "GPT", cast=False, curvature_precision=precision)
        losses.append([training.step() for _ in range(10)])
    exact, rounded = losses
    assert exact[-1] < 0.9 * exact[0]
    # Step sizes that are off by half a per cent move each loss by less than that of what was gained so far.
    assert all(abs(a - b) <= 0.01 * (exact[0] - exact[-1]) for a, b in zip(exact, rounded, strict=True))


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_it_is_saved_and_loaded(kind: Any) -> None:
    first = Training(kind, "dense, softplus", cast=True, curvature_precision="float32")
    first.step()
    file = io.BytesIO()
    torch.save(first.optimizer.state_dict(), file)
    file.seek(0)
    other = Training(kind, "dense, softplus", cast=True)
    assert other.optimizer.param_groups[0]["curvature_precision"] == "recorded"
    other.net.load_state_dict(first.net.state_dict())
    other.optimizer.load_state_dict(torch.load(file, weights_only=True))
    assert other.optimizer.param_groups[0]["curvature_precision"] == "float32"
    assert other.step() == first.step()
    assert other.optimizer.last_step == first.optimizer.last_step


def test_one_saved_before_there_was_the_option_measures_as_recorded() -> None:
    training = Training(curvestep.RescaledSGD, "dense, softplus", cast=False)
    saved = training.optimizer.state_dict()
    for group in saved["param_groups"]:
        del group["curvature_precision"]
    training.optimizer.load_state_dict(saved)
    assert training.optimizer.param_groups[0]["curvature_precision"] == "recorded"
    training.step()


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_another_one_is_refused(kind: Any) -> None:
    theta = torch.ones(2, requires_grad=True)
    with pytest.raises(ValueError, match="curvature_precision must be one of recorded, .*'float16' was given"):
        kind([theta], curvature_precision="float16")


def test_groups_share_one() -> None:
    a, b = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    optimizer = curvestep.RescaledSGD([a], curvature_precision="float32")
    with pytest.raises(ValueError, match="curvature_precision belongs to the step rule, which is one for all"):
        optimizer.add_param_group({"params": [b], "curvature_precision": "bfloat16"})
