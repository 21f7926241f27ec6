"""What a user is told who takes a level for a learning rate, or whose run has run away; every scheduler of torch."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

import curvestep
from curvestep._records import Outcome
from tests.methods import METHODS, Method
from tests.optim.problem import assert_close, make_problem

RESCALED = [curvestep.RescaledSGD, curvestep.RescaledRMSprop, curvestep.RescaledAdam]


@pytest.mark.parametrize("make", RESCALED)
def test_a_level_that_was_meant_as_a_rate_is_announced_at_the_user_s_line(make: Any) -> None:
    parameter = torch.zeros(2, requires_grad=True)
    with pytest.warns(UserWarning, match=r"lr=0\.001, but its lr is a level ℓ.*covers 0\.2 % of the way") as found:
        make([parameter], lr=1e-3)
    assert Path(found[0].filename) == Path(__file__)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make([parameter], lr=0.01)
        make([parameter], lr=0.0)


def test_auto_says_what_it_has_instead_of_a_rate() -> None:
    parameter = torch.zeros(2, requires_grad=True)
    with pytest.raises(ValueError, match=r"Auto measures its step.*lr=0\.001 was given.*RescaledAdam"):
        curvestep.Auto([parameter], lr=1e-3)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="Auto measures its step"):
        curvestep.Auto([parameter], 1e-3)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("unit", [1e-3, 1.0, 50.0])
def test_groups_of_auto_move_in_the_ratio_of_their_rates(unit: float) -> None:
    problem, other = make_problem(), make_problem()
    first, last = problem.layers
    groups = [{"params": first.parameters(), "lr": 0.1 * unit}, {"params": last.parameters(), "lr": unit}]
    optimizer = curvestep.Auto(groups)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.05, 0.5])
    first, last = other.layers
    by_default = curvestep.Auto([{"params": first.parameters(), "lr": 0.05}, {"params": last.parameters()}])
    by_default.param_groups[1]["lr"] = 0.5
    by_default.param_groups[0]["lr"] = 0.05
    problem.train(optimizer, range(3))
    other.train(by_default, range(3))
    assert_close(problem.parameters(), other.parameters(), 1e-12)
    assert optimizer.param_groups[0]["effective_lr"] == pytest.approx(0.1 * optimizer.param_groups[1]["effective_lr"])


def test_a_bad_rate_of_a_group_of_auto_is_refused() -> None:
    with pytest.raises(ValueError, match=r"lr is the share .* lr=-1\.0 was given"):
        curvestep.Auto([{"params": [torch.zeros(1, requires_grad=True)], "lr": -1.0}])


def test_a_schedule_scales_the_steps_of_auto() -> None:
    """A tenth of the level is a tenth of the step, while the scale that is kept is the same."""
    sizes, scales = [], []
    for level in (0.5, 0.05):
        problem = make_problem()
        optimizer = curvestep.Auto(problem.net.parameters())
        optimizer.param_groups[0]["lr"] = level
        problem.train(optimizer, range(1))
        assert optimizer.last_step is not None and optimizer.last_step.outcome is Outcome.WINDOW_SCALE
        sizes.append(optimizer.last_step.step_size)
        scales.append(optimizer.param_groups[0]["rule_state"]["balance_scale"])
        optimizer.param_groups[0]["lr"] = 0.3 * level
        problem.train(optimizer, range(1, 2))
        # Within a window: the second of twenty steps of the ramp.
        assert optimizer.last_step.step_size == pytest.approx(2.0 * 0.3 * sizes[-1], rel=1e-12)
    assert sizes[1] == pytest.approx(0.1 * sizes[0], rel=1e-12)
    assert scales[1] == pytest.approx(scales[0], rel=1e-12) and sizes[0] == pytest.approx(scales[0] / 20.0, rel=1e-12)


def test_a_run_that_ran_away_is_announced_once() -> None:
    """Along a line there is no curvature: every step is the longest one."""
    theta = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = curvestep.RescaledSGD([theta])

    def steps(count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad()
            with optimizer.record(batch_size=1):
                (-theta).sum().backward()
            optimizer.step()

    steps(10)
    with pytest.warns(UserWarning, match=r"RescaledSGD has run away .*Begin again") as found:
        steps(1)
    assert len(found) == 1 and Path(found[0].filename) == Path(__file__)
    steps(20)
    assert theta.item() == pytest.approx(310.0), "Thirty-one steps of ten: the limit has not grown with the parameter."


def test_a_short_limit_is_no_run_that_ran_away() -> None:
    theta = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = curvestep.RescaledSGD([theta], max_relative_step=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        with optimizer.record(batch_size=1):
            (-theta).sum().backward()
        optimizer.step()
    assert theta.item() == pytest.approx(10.0)


def test_steps_that_cannot_be_taken_are_announced_once() -> None:
    theta = torch.ones(1, requires_grad=True)
    optimizer = curvestep.Auto([theta])

    def steps(count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad()
            with optimizer.record(batch_size=1):
                (theta * float("nan")).sum().backward()
            optimizer.step()

    steps(19)
    with pytest.warns(UserWarning, match=r"Auto has run away or come to a stop.*not finite"):
        steps(1)
    steps(30)


SCHEDULERS: dict[str, Callable[[Any], Any]] = {
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda k: 0.9**k),
    "MultiplicativeLR": lambda o: lr_scheduler.MultiplicativeLR(o, lambda k: 0.9),
    "StepLR": lambda o: lr_scheduler.StepLR(o, 2),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [2, 4]),
    "ConstantLR": lambda o: lr_scheduler.ConstantLR(o, total_iters=3),
    "LinearLR": lambda o: lr_scheduler.LinearLR(o, total_iters=3),
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.9),
    "PolynomialLR": lambda o: lr_scheduler.PolynomialLR(o, total_iters=8),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 6),
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 3),
    "SequentialLR": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.ConstantLR(o, 0.5, 2), lr_scheduler.ExponentialLR(o, 0.9)], [2]
    ),
    "ReduceLROnPlateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=0),
    "CyclicLR": lambda o: lr_scheduler.CyclicLR(o, 0.1, 0.5, step_size_up=2),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 0.5, total_steps=8),
    "SWALR": lambda o: torch.optim.swa_utils.SWALR(o, swa_lr=0.07),
}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("schedule", SCHEDULERS.values(), ids=SCHEDULERS)
def test_every_scheduler_of_torch_works_or_is_refused(method: Method, schedule: Callable[[Any], Any]) -> None:
    problem = make_problem()
    optimizer = method.make(problem.net.parameters(), **method.learns)
    try:
        scheduler = schedule(optimizer)
    except ValueError as why:
        assert "cycle_momentum" in str(why), "torch's own sentence says which option to turn off."
        return
    levels = []
    for batch in range(6):
        (loss,) = problem.train(optimizer, range(batch, batch + 1))
        assert optimizer.last_step is not None
        levels.append((optimizer.last_step.ell, optimizer.param_groups[0]["lr"]))
        scheduler.step(*([loss] if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau) else []))
    assert all(ell == pytest.approx(lr) for ell, lr in levels), "The level of a step is the one that was set."
    assert len({ell for ell, _ in levels}) > 1 or isinstance(scheduler, lr_scheduler.ReduceLROnPlateau)
