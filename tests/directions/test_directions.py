"""The directions against their formulas written out step by step, and the purity of ``propose``."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from curvestep.directions import STEP, Adam, Direction, Gradient, HeavyBall, Nesterov, RMSprop

DIRECTIONS: list[Direction] = [
    Gradient(),
    HeavyBall(0.9),
    Nesterov(0.9),
    RMSprop(),
    RMSprop(0.5, 0.1),
    Adam(),
    Adam(0.0, 0.0, 0.0),
]


def gradients_of(steps: int, dtype: torch.dtype = torch.float64) -> list[list[Tensor]]:
    return [[torch.randn(3, 2, dtype=dtype), torch.randn(4, dtype=dtype)] for _ in range(steps)]


def expected(direction: Direction, history: list[Tensor]) -> Tensor:
    """d after a history of gradients, from sums written out instead of a recursion."""
    k = len(history)

    def average(decay: float, terms: list[Tensor]) -> Tensor:
        weighted = [(1 - decay) * decay ** (k - i) * term for i, term in enumerate(terms, start=1)]
        return torch.stack(weighted).sum(dim=0) / (1 - decay**k)

    squares = [gradient**2 for gradient in history]
    match direction:
        case HeavyBall(momentum):
            return average(momentum, history)
        case Nesterov(momentum):
            decayed = [momentum ** (k - i) * term for i, term in enumerate(history, start=1)]
            return history[-1] + momentum * torch.stack(decayed).sum(dim=0)
        case RMSprop(beta2, eps):
            return history[-1] / (average(beta2, squares).sqrt() + eps)
        case Adam(beta1, beta2, eps):
            return average(beta1, history) / (average(beta2, squares).sqrt() + eps)
        case _:
            return history[-1]


@pytest.mark.parametrize("direction", DIRECTIONS, ids=str)
def test_directions_follow_their_formula(direction: Direction) -> None:
    history = gradients_of(12)
    states = [direction.init(gradient) for gradient in history[0]]
    for k, gradients in enumerate(history, start=1):
        proposed = direction.propose(gradients, states)
        direction.advance(gradients, states)
        for i, tensor in enumerate(proposed):
            # A dozen float64 operations on numbers of order one, summed in another order.
            torch.testing.assert_close(tensor, expected(direction, [g[i] for g in history[:k]]), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("direction", DIRECTIONS, ids=str)
def test_propose_changes_nothing_and_advance_writes_no_gradient(direction: Direction) -> None:
    first, second = gradients_of(2)
    states = [direction.init(gradient) for gradient in first]
    direction.advance(first, states)
    saved, kept = copy.deepcopy(states), [gradient.clone() for gradient in second]
    once = direction.propose(second, states)
    again = direction.propose(second, states)
    for before, after in zip(saved, states, strict=True):
        assert before.keys() == after.keys()
        assert all(torch.equal(torch.as_tensor(before[name]), torch.as_tensor(after[name])) for name in before)
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))
    direction.advance(second, states)
    assert all(torch.equal(a, b) for a, b in zip(second, kept, strict=True))


def test_parameters_that_joined_later_have_their_own_bias_correction() -> None:
    direction = Adam()
    old, new = direction.init(torch.zeros(2)), direction.init(torch.zeros(2))
    gradient = torch.tensor([2.0, -3.0])
    direction.advance([gradient], [old])
    _, second = direction.propose([gradient, gradient], [old, new])
    assert (old[STEP], new[STEP]) == (1, 0)
    torch.testing.assert_close(second, gradient.sign())  # the first step of Adam is the sign


def test_state_of_16_bit_parameters_is_float32() -> None:
    state = Adam().init(torch.zeros(3, dtype=torch.bfloat16))
    assert state["exp_avg"].dtype is state["exp_avg_sq"].dtype is torch.float32


def test_state_keeps_the_memory_layout() -> None:
    weight = torch.zeros(2, 3, 4, 4).to(memory_format=torch.channels_last)
    assert Adam().init(weight)["exp_avg"].is_contiguous(memory_format=torch.channels_last)
