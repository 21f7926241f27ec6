"""The directions against their formulas written out step by step, and the agreement of their two forms."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from curvestep.directions import STEP, Adam, Direction, Gradient, HeavyBall, Nesterov, RMSprop, State

DIRECTIONS: list[Direction] = [
    Gradient(),
    HeavyBall(0.9),
    Nesterov(0.9),
    RMSprop(),
    RMSprop(0.5, 0.1),
    Adam(),
    Adam(0.0, 0.0, 0.0),
    Adam(0.8, 0.9, nesterov=True),
    Adam(0.0, 0.9, nesterov=True),
]


def gradients_of(steps: int, dtype: torch.dtype = torch.float64) -> list[list[Tensor]]:
    return [[torch.randn(3, 2, dtype=dtype), torch.randn(4, dtype=dtype)] for _ in range(steps)]


def expected(direction: Direction, history: list[Tensor]) -> Tensor:
    """d after a history of gradients, from sums written out instead of a recursion."""
    k = len(history)

    def average(decay: float, terms: list[Tensor]) -> Tensor:
        n = len(terms)
        weighted = [(1 - decay) * decay ** (n - i) * term for i, term in enumerate(terms, start=1)]
        return torch.stack(weighted).sum(dim=0) / (1 - decay**n)

    squares = [gradient**2 for gradient in history]
    match direction:
        case HeavyBall(momentum):
            return average(momentum, history)
        case Nesterov(momentum):
            decayed = [momentum ** (k - i) * term for i, term in enumerate(history, start=1)]
            return history[-1] + momentum * torch.stack(decayed).sum(dim=0)
        case RMSprop(beta2, eps):
            return history[-1] / (average(beta2, squares).sqrt() + eps)
        case Adam(beta1, beta2, eps, nesterov):
            # The look ahead: the last gradient once more, a step younger than all.
            seen = [*history, history[-1]] if nesterov else history
            return average(beta1, seen) / (average(beta2, squares).sqrt() + eps)
        case _:
            return history[-1]


@pytest.mark.parametrize("direction", DIRECTIONS, ids=str)
def test_directions_follow_their_formula(direction: Direction) -> None:
    history = gradients_of(12)
    states = [direction.init(gradient) for gradient in history[0]]
    for k, gradients in enumerate(history, start=1):
        proposal = direction.propose(gradients, states)
        proposed, states = proposal.direction, proposal.following
        for i, tensor in enumerate(proposed):
            # A dozen float64 operations on numbers of order one, summed in another order.
            torch.testing.assert_close(tensor, expected(direction, [g[i] for g in history[:k]]), rtol=1e-12, atol=1e-14)


def assert_same_states(left: list[State], right: list[State]) -> None:
    """Fail unless two lists of states agree bit for bit."""
    for a, b in zip(left, right, strict=True):
        assert a.keys() == b.keys()
        assert all(torch.equal(torch.as_tensor(a[name]), torch.as_tensor(b[name])) for name in a)


@pytest.mark.parametrize("direction", DIRECTIONS, ids=str)
def test_neither_form_writes_more_than_it_says(direction: Direction) -> None:
    first, second = gradients_of(2)
    states = [direction.init(gradient) for gradient in first]
    direction.absorb(first, states)
    saved, kept = copy.deepcopy(states), [gradient.clone() for gradient in second]
    once = direction.propose(second, states)
    again = direction.propose(second, states)
    assert_same_states(states, saved)
    assert all(torch.equal(a, b) for a, b in zip(once.direction, again.direction, strict=True))
    direction.absorb(second, states)
    assert all(torch.equal(a, b) for a, b in zip(second, kept, strict=True))


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda tensor: tensor,
    "channels last": lambda tensor: tensor.to(memory_format=torch.channels_last),
    "gradient laid out in another way": lambda tensor: tensor.transpose(0, 1).contiguous().transpose(0, 1),
    "gradient of one number for all": lambda tensor: tensor[:1, :1, :1, :1].expand_as(tensor),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("direction", DIRECTIONS, ids=str)
def test_both_forms_agree_bit_for_bit(
    direction: Direction, dtype: torch.dtype, layout: Callable[[Tensor], Tensor]
) -> None:
    # Seven entries and more than a vector of them: the kernels' ends are met too.
    history = [[layout(torch.randn(3, 2, 5, 7, dtype=dtype)), torch.randn(7, dtype=dtype)] for _ in range(5)]
    parameters = [torch.zeros(3, 2, 5, 7, dtype=dtype), torch.zeros(7, dtype=dtype)]
    if layout is LAYOUTS["channels last"]:
        parameters[0] = layout(parameters[0])
    pure, written = ([direction.init(parameter) for parameter in parameters] for _ in range(2))
    held = [dict(state) for state in written]
    for gradients in history:
        proposal = direction.propose(gradients, pure)
        pure = proposal.following
        absorbed = direction.absorb(gradients, written)
        assert all(torch.equal(a, b) for a, b in zip(proposal.direction, absorbed, strict=True))
        assert_same_states(pure, written)
    for before, after in zip(held, written, strict=True):  # in place: the same tensors, written to
        assert all(before[name] is after[name] for name in before if isinstance(before[name], Tensor))


@pytest.mark.parametrize("direction", DIRECTIONS, ids=str)
@pytest.mark.parametrize("form", ["numbers", "tensors"])
def test_corrections_from_outside_are_those_it_counts_itself(direction: Direction, form: str) -> None:
    history = gradients_of(4)
    states = [direction.init(gradient) for gradient in history[0]]
    # The kernel of Nesterov's form takes a second average out of m again: a rounding of gradients of order one.
    least = 1e-15 if isinstance(direction, Adam) and direction.nesterov else 0.0
    for k, gradients in enumerate(history, start=1):
        numbers = direction.corrections(k)
        given = numbers if form == "numbers" else [torch.tensor(number, dtype=torch.float64) for number in numbers]
        proposal = direction.propose(gradients, states, [given, given])
        own = direction.propose(gradients, states)
        for a, b in zip(proposal.direction, own.direction, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-14, atol=least)  # a few roundings of float64
        for left, right in zip(proposal.following, own.following, strict=True):
            assert left.keys() == right.keys()
            for name in left:
                torch.testing.assert_close(left[name], right[name], rtol=1e-15, atol=least)
        states = own.following


@pytest.mark.parametrize("direction", DIRECTIONS, ids=str)
def test_a_graph_traced_at_one_step_serves_all(direction: Direction) -> None:
    history = gradients_of(6)
    states = [direction.init(gradient) for gradient in history[0]]
    names = [[name for name, value in state.items() if isinstance(value, Tensor)] for state in states]

    def step(gradients: list[Tensor], tensors: list[list[Tensor]], given: list[Tensor]) -> tuple[Any, Any]:
        held = [{**dict(zip(own, values, strict=True)), STEP: 0} for own, values in zip(names, tensors, strict=True)]
        proposal = direction.propose(gradients, held, [given] * len(gradients))
        return proposal.direction, [
            [state[name] for name in own] for state, own in zip(proposal.following, names, strict=True)
        ]

    def arguments(k: int, gradients: list[Tensor], tensors: list[list[Tensor]]) -> tuple[Any, ...]:
        return gradients, tensors, [torch.tensor(number, dtype=torch.float64) for number in direction.corrections(k)]

    tensors = [[state[name].clone() for name in own] for state, own in zip(states, names, strict=True)]
    graph = make_fx(step)(*arguments(1, history[0], tensors))
    for k, gradients in enumerate(history, start=1):
        own = direction.absorb(gradients, states)
        found, tensors = graph(*arguments(k, gradients, tensors))
        for a, b in zip(found, own, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-13, atol=0.0)  # a few roundings of float64 a step


def test_parameters_that_joined_later_have_their_own_bias_correction() -> None:
    direction = Adam()
    old, new = direction.init(torch.zeros(2)), direction.init(torch.zeros(2))
    gradient = torch.tensor([2.0, -3.0])
    direction.absorb([gradient], [old])
    _, second = direction.propose([gradient, gradient], [old, new]).direction
    assert (old[STEP], new[STEP]) == (1, 0)
    torch.testing.assert_close(second, gradient.sign())  # the first step of Adam is the sign


def test_state_of_16_bit_parameters_is_float32() -> None:
    state = Adam().init(torch.zeros(3, dtype=torch.bfloat16))
    assert state["exp_avg"].dtype is state["exp_avg_sq"].dtype is torch.float32


def test_state_keeps_the_memory_layout() -> None:
    weight = torch.zeros(2, 3, 4, 4).to(memory_format=torch.channels_last)
    assert Adam().init(weight)["exp_avg"].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("direction", [d for d in DIRECTIONS if isinstance(d, Adam)], ids=str)
def test_a_direction_that_cannot_vanish_does_not(direction: Adam) -> None:
    """It says so for m = 0 and for m along g; not for an m that would take g away, nor for g = 0."""
    gradient = torch.tensor([2.0, -1.0, 0.5])
    for factor, expected_answer in ((0.0, True), (3.0, True), (-0.1, False), (-9.0, False)):
        state = {**direction.init(gradient), "exp_avg": factor * gradient, "exp_avg_sq": gradient.square(), STEP: 3}
        assert direction.cannot_vanish([gradient], [state]) is expected_answer
        if expected_answer:
            assert float(direction.propose([gradient], [state]).direction[0].norm()) > 0.0
        assert not direction.cannot_vanish([torch.zeros(3)], [state])
    assert not direction.cannot_vanish([torch.full((1,), 1e30)], [direction.init(torch.zeros(1))])  # ‖g‖² overflows
