"""The methods that the source's figures ask for: their schedules, their slopes, and the share of steps that descend."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import curvestep
from curvestep.bench.methods import get_method
from curvestep.bench.methods.method import BuildRequest
from curvestep.bench.methods.watched import watched_adam, watched_sgd
from curvestep.bench.runner import run
from curvestep.bench.settings import Wish, run_config


def request(parameter: Tensor, **changes: object) -> BuildRequest:
    asked = BuildRequest([torch.nn.Parameter(parameter)], 0.1, 1.0, "exponential", 0, 0.0, 10, 2)
    return dataclasses.replace(asked, parameters=[parameter], **changes)  # pyright: ignore[reportArgumentType]


def theta() -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64))


@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
def test_watched_optimizers_are_torchs_and_say_their_slope(weight_decay: float) -> None:
    """f = ½ Σ a θ²; the slope is ⟨aθ + λθ, d⟩ with d = (θ − θ') / τ, and d is built here by hand for SGD."""
    scales = torch.tensor([1.0, 10.0, 0.1], dtype=torch.float64)
    for watched, plain in (
        (watched_sgd, lambda p: torch.optim.SGD([p], lr=0.1, momentum=0.9, dampening=0.9, weight_decay=weight_decay)),
        (watched_adam, lambda p: torch.optim.Adam([p], lr=0.1, betas=(0.9, 0.999), weight_decay=weight_decay)),
    ):
        own, other = theta(), theta()
        optimizer, reference = watched(request(own, weight_decay=weight_decay), 0.9), plain(other)
        average = None
        for _ in range(5):
            before = own.detach().clone()
            gradient = (scales + weight_decay) * before

            def closure(p: Tensor = own, o: torch.optim.Optimizer = optimizer) -> Any:  # torch says float
                o.zero_grad()
                value = 0.5 * (scales * p * p).sum()
                value.backward()
                return value

            optimizer.step(closure)
            reference.zero_grad()
            (0.5 * (scales * other * other).sum()).backward()
            reference.step()
            assert torch.equal(own, other)
            direction = (before - own.detach()) / 0.1
            reported = optimizer.last_step.slope  # pyright: ignore[reportAttributeAccessIssue]
            assert reported == pytest.approx(
                float((gradient * direction).sum()), rel=1e-9
            )  # float64, a difference / 0.1
            if watched is watched_sgd:
                average = gradient if average is None else 0.9 * average + 0.1 * gradient
                assert reported == pytest.approx(float((gradient * average).sum()), rel=1e-9)


def test_the_rate_of_robbins_and_monro() -> None:
    built = get_method("sgd-robbins-monro").build(request(theta()))
    rates = []
    for _ in range(4):
        rates.append(built.optimizer.param_groups[0]["lr"])
        built.optimizer.step()
        assert built.step_scheduler is not None
        built.step_scheduler.step()
    assert rates == pytest.approx([0.1 / step**0.501 for step in (1, 2, 3, 4)])


def test_ell_along_half_a_cosine() -> None:
    built = get_method("half-sgd-cosine").build(request(theta(), lr=None))
    assert isinstance(built.optimizer, curvestep.RescaledSGD)
    parameter = built.optimizer.param_groups[0]["params"][0]
    levels: list[float] = []
    for _ in range(10):
        levels.append(built.optimizer.param_groups[0]["lr"])
        built.optimizer.zero_grad()
        with built.optimizer.record():
            (torch.ones(2, 3, dtype=torch.float64) * parameter).square().mean().backward()
        built.optimizer.step()
        assert built.step_scheduler is not None
        built.step_scheduler.step()
    assert levels == pytest.approx([0.25 * (1 + math.cos(math.pi * step / 10)) for step in range(10)])


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("red-sgd-0.99", {"beta3": 0.99, "lr": 1.0}),
        ("red-sgd-0", {"beta3": 0.0, "lr": 1.0}),
        ("red-adam-tenth", {"betas": (0.9, 0.999)}),
        ("red-sgd-heavy", {"lr": 1.0}),
        ("half-sgd", {"lr": 0.5}),
    ],
)
def test_methods_have_the_options_of_the_figure(method: str, options: dict[str, object]) -> None:
    group = get_method(method).build(request(theta(), lr=None)).optimizer.param_groups[0]
    assert {name: group[name] for name in options} == options
    if method == "red-adam-tenth":
        assert group["lr"] == pytest.approx(0.1)


def test_the_share_of_steps_that_descend_is_counted_in_each_epoch() -> None:
    wish = Wish("digits-mlp", scale="small", epochs=3, batch_size=64)
    record = run(run_config(wish, "adam-momentum", 0.5, 0))  # far too long: steps go up as well as down
    slopes = record.samples.slope
    assert len(slopes) == 30 and all(slope is not None for slope in slopes)
    for epoch in record.epochs:
        own = [slope for slope in slopes[epoch.step - 10 : epoch.step] if slope is not None]
        assert epoch.descent_share == sum(slope >= 0.0 for slope in own) / 10
        assert epoch.measured_share is None
    assert any(epoch.descent_share != 1.0 for epoch in record.epochs)
    red = run(run_config(wish, "red-sgd", None, 0))
    assert {(epoch.descent_share, epoch.measured_share) for epoch in red.epochs} == {(1.0, 1.0)}


def test_a_memory_shows_the_classifier_earlier_features(data_folder: Path) -> None:
    """In training the first batch is shown alone, so its loss is that without a memory; then the runs part."""
    wish = Wish("cifar10-vgg11", scale="tiny", steps=3, batch_size=8, subset=32)
    plain = run(run_config(wish, "red-sgd", None, 0), data_folder).samples.loss
    kept = run(run_config(dataclasses.replace(wish, task="cifar10-vgg11-memory"), "red-sgd", None, 0), data_folder)
    assert kept.status == "finished"
    assert kept.samples.loss[0] == plain[0] and kept.samples.loss[1:] != plain[1:]
