"""With the rule off the optimizers are those of ``torch.optim``, over a hundred steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from curvestep.directions import Adam, Direction, Gradient, HeavyBall, RMSprop
from curvestep.optim import AbstractComposedOptimizer
from curvestep.steprules import Constant, StepRule
from tests.optim.problem import assert_close, make_problem

STEPS = 100
# Each side rounds a few float64 operations a step in another order, over a hundred small steps.
TOLERANCE = 1e-11


class Unscaled(AbstractComposedOptimizer):
    """A direction with the constant rule."""

    def __init__(self, params: Any, lr: float, direction: Direction, **decay: float) -> None:
        self.direction = direction
        super().__init__(params, {"lr": lr, "weight_decay": 0.0, "decoupled_weight_decay": 0.0, **decay})

    def _direction(self, group: dict[str, Any]) -> Direction:
        return self.direction

    def _rule(self, groups: Sequence[dict[str, Any]]) -> StepRule:
        return Constant()

    @property
    def _rule_options(self) -> tuple[str, ...]:
        return ()


CASES: dict[str, tuple[Direction, dict[str, float], Callable[[Any], torch.optim.Optimizer]]] = {
    "SGD": (Gradient(), {}, lambda p: torch.optim.SGD(p, lr=0.1)),
    "SGD with L2": (
        Gradient(),
        {"weight_decay": 0.01},
        lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.01),
    ),
    "RMSprop, as Adam without momentum": (
        RMSprop(beta2=0.99, eps=1e-6),
        {},
        lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.0, 0.99), eps=1e-6),
    ),
    "Adam": (Adam(0.9, 0.99, 1e-8), {}, lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.9, 0.99))),
    "Adam with L2": (
        Adam(0.9, 0.999, 1e-8),
        {"weight_decay": 0.01},
        lambda p: torch.optim.Adam(p, lr=0.1, weight_decay=0.01),
    ),
    "AdamW": (
        Adam(0.9, 0.999, 1e-8),
        {"decoupled_weight_decay": 0.01},
        lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.01),
    ),
}


def torch_parameters(make: Callable[[Any], torch.optim.Optimizer], rate: Callable[[int], float]) -> list[torch.Tensor]:
    """The parameters after a hundred steps of an optimizer of torch, with a learning rate for every step."""
    problem = make_problem()
    optimizer = make(problem.net.parameters())
    for batch in range(STEPS):
        optimizer.param_groups[0]["lr"] = rate(batch + 1)
        optimizer.zero_grad()
        problem.loss(batch).backward()
        optimizer.step()
    return problem.parameters()


def our_parameters(direction: Direction, **decay: float) -> list[torch.Tensor]:
    """The parameters after a hundred steps of the direction at a learning rate of 0.1."""
    problem = make_problem()
    problem.train(Unscaled(problem.net.parameters(), 0.1, direction, **decay), range(STEPS))
    return problem.parameters()


@pytest.mark.parametrize(("direction", "decay", "make"), CASES.values(), ids=CASES.keys())
def test_the_rule_off_is_torch(
    direction: Direction, decay: dict[str, float], make: Callable[[Any], torch.optim.Optimizer]
) -> None:
    assert_close(our_parameters(direction, **decay), torch_parameters(make, lambda k: 0.1), TOLERANCE)


def test_heavy_ball_is_torch_s_momentum_without_the_average_s_normalisation() -> None:
    # torch sums β^(k−i) g_i; the bias-corrected average is that sum times (1−β) / (1−β^k).
    expected = torch_parameters(
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), lambda k: 0.1 * (1 - 0.9) / (1 - 0.9**k)
    )
    assert_close(our_parameters(HeavyBall(0.9)), expected, TOLERANCE)


def test_rmsprop_is_torch_s_up_to_the_bias_correction() -> None:
    # Without ε, dividing v by 1 − β₂^k is multiplying the step by √(1 − β₂^k).
    expected = torch_parameters(
        lambda p: torch.optim.RMSprop(p, lr=0.1, alpha=0.99, eps=0.0), lambda k: 0.1 * (1 - 0.99**k) ** 0.5
    )
    assert_close(our_parameters(RMSprop(beta2=0.99, eps=0.0)), expected, TOLERANCE)


def test_the_constant_rule_measures_no_curvature() -> None:
    problem = make_problem()
    optimizer = Unscaled(problem.net.parameters(), 0.1, Gradient())
    problem.train(optimizer, range(1))
    record = optimizer.last_step
    assert record is not None
    assert (record.curvature, record.absolute_curvature, record.rescaling) == (None, None, 1.0)
    assert optimizer.param_groups[0]["effective_lr"] == 0.1
