"""Values of actions with two networks, seen through noise."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from benchmarks.league.problem import Batch, Instance
from benchmarks.league.problems.feed import dense, generator

_STATES, _ACTIONS, _DISCOUNT, _HAZE = 80, 3, 0.9, 0.3


def _world() -> tuple[Tensor, Tensor, Tensor]:
    """Return features of the states, where actions lead with what chance, and rewards; one world for all seeds."""
    draw = torch.Generator().manual_seed(11)
    features = torch.randn(_STATES, 12, generator=draw)
    leads = torch.rand(_STATES, _ACTIONS, _STATES, generator=draw) ** 20
    return features, leads / leads.sum(-1, keepdim=True), torch.randn(_STATES, _ACTIONS, generator=draw)


def _true_values(leads: Tensor, reward: Tensor) -> Tensor:
    """Return the value of every state and action, by iteration to convergence."""
    values = torch.zeros(_STATES, _ACTIONS)
    for _ in range(300):
        values = reward + _DISCOUNT * leads @ values.max(1).values
    return values


def double_q(seed: int) -> Instance:
    """Three actions in 80 states that are seen through noise, targets of double Q-learning, a copy at 1 %; batch 64.

    The network chooses the next action and the copy, which follows by 1 % a step, says what it is worth. Held out: the
    mean squared error against the true values over their variance, on states seen through noise.

    Returns:
        The instance.
    """
    features, leads, reward = _world()
    truth = _true_values(leads, reward)
    model = dense(12, 64, 64, _ACTIONS)
    target = copy.deepcopy(model).requires_grad_(False)
    chooser = copy.deepcopy(model).requires_grad_(False)
    order = generator(seed, "order")

    def seen(states: Tensor, draw: torch.Generator) -> Tensor:
        return features[states] + _HAZE * torch.randn(len(states), 12, generator=draw)

    def batches() -> Iterator[Batch]:
        while True:
            state = torch.randint(_STATES, (64,), generator=order)
            action = torch.randint(_ACTIONS, (64,), generator=order)
            after = torch.multinomial(leads[state, action], 1, generator=order)[:, 0]
            gain = reward[state, action] + 0.3 * torch.randn(64, generator=order)
            yield seen(state, order), action, gain, seen(after, order)

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        now, action, gain, after = batch
        with torch.no_grad():
            best = nn.functional.one_hot(chooser(after).argmax(1), _ACTIONS).to(now.dtype)
            goal = gain + _DISCOUNT * (target(after) * best).sum(1)
        chosen = nn.functional.one_hot(action, _ACTIONS).to(now.dtype)
        return nn.functional.mse_loss((model(now) * chosen).sum(1), goal)

    places = torch.arange(_STATES).repeat(10)
    known = seen(places, torch.Generator().manual_seed(7))

    def evaluate(model: nn.Module) -> float:
        with torch.no_grad():
            return float(((model(known) - truth[places]) ** 2).mean() / truth.var())

    def follow(step: int, model: nn.Module) -> None:
        del step
        with torch.no_grad():
            chooser.load_state_dict(model.state_dict())
            for old, new in zip(target.parameters(), model.parameters(), strict=True):
                old.lerp_(new, 0.01)

    return Instance(model, batches(), loss, evaluate, on_step=follow)
