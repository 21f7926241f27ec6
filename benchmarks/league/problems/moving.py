"""Targets that move with the network: values fitted to a copy of themselves, and a teacher that is an average."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from benchmarks.league.problem import Batch, Instance
from benchmarks.league.problems.data import mnist_images
from benchmarks.league.problems.feed import cross_entropy, dense, generator, held_out, shuffled

_SIDE, _DISCOUNT, _SLIP, _REFRESH = 12, 0.9, 0.1, 20


def _world() -> tuple[Tensor, Tensor]:
    """Return the next state of every (state, action) and the reward for entering every state."""
    places = torch.arange(_SIDE * _SIDE)
    row, column = places // _SIDE, places % _SIDE
    moves = ((-1, 0), (1, 0), (0, -1), (0, 1))
    following = torch.stack(
        [(row + a).clamp(0, _SIDE - 1) * _SIDE + (column + b).clamp(0, _SIDE - 1) for a, b in moves], -1
    )
    reward = torch.zeros(_SIDE * _SIDE)
    reward[3 * _SIDE + 9], reward[8 * _SIDE + 2] = 1.0, 0.6
    reward[5 * _SIDE + 4 : 5 * _SIDE + 9] = -0.5
    return following, reward


def _true_values() -> Tensor:
    """Return the value of every (state, action), by iteration to convergence."""
    following, reward = _world()
    values = torch.zeros(_SIDE * _SIDE, 4)
    for _ in range(300):
        entered = reward[following] + _DISCOUNT * values.max(1).values[following]
        values = (1.0 - _SLIP) * entered + _SLIP * entered.mean(1, keepdim=True)
    return values


def fitted_values(seed: int) -> Instance:
    """Values of four actions on a grid of 12×12, targets from a copy that is renewed every 20 steps; batch 64.

    Held out: the mean squared error against the true values, over their variance.

    Returns:
        The instance.
    """
    following, reward = _world()
    truth = _true_values()
    places = torch.arange(_SIDE * _SIDE)
    position = torch.stack([places // _SIDE, places % _SIDE], -1) / (_SIDE - 1)
    angles = position[:, :, None] * torch.pi * torch.arange(1, 5)
    features = torch.cat([angles.sin(), angles.cos()], -1).flatten(1)
    model = dense(features.shape[1], 64, 64, 4)
    target = copy.deepcopy(model).requires_grad_(False)
    order = generator(seed, "order")

    def batches() -> Iterator[Batch]:
        while True:
            state = torch.randint(_SIDE * _SIDE, (64,), generator=order)
            action = torch.randint(4, (64,), generator=order)
            slips = torch.rand(64, generator=order) < _SLIP
            taken = torch.where(slips, torch.randint(4, (64,), generator=order), action)
            after = following[state, taken]
            yield features[state], action, reward[after], features[after]

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        now, action, gain, after = batch
        with torch.no_grad():
            goal = gain + _DISCOUNT * target(after).max(1).values
        chosen = nn.functional.one_hot(action, 4).to(now.dtype)
        return nn.functional.mse_loss((model(now) * chosen).sum(1), goal)

    def evaluate(model: nn.Module) -> float:
        with torch.no_grad():
            return float(((model(features) - truth) ** 2).mean() / truth.var())

    def renew(step: int, model: nn.Module) -> None:
        if step % _REFRESH == 0:
            target.load_state_dict(model.state_dict())

    return Instance(model, batches(), loss, evaluate, on_step=renew)


def linear_system(seed: int) -> Instance:
    """Values of the states of a noisy spiral, temporal differences, a copy that follows by 2 % a step; batch 64.

    The state x of three numbers becomes A x + w, it costs |x|²/3, and γ = 0.9, so its value is xᵀPx + c with
    P = I/3 + γ AᵀPA and c = γ tr(P Σ) / (1 − γ). Held out: the mean squared error against it, over its variance.

    Returns:
        The instance.
    """
    turn, noise, discount = math.pi / 6, 0.3, 0.9
    system = 0.9 * torch.tensor(
        [[math.cos(turn), -math.sin(turn), 0.0], [math.sin(turn), math.cos(turn), 0.3], [0.0, 0.0, 0.8]]
    )
    form = torch.zeros(3, 3)
    for _ in range(300):
        form = torch.eye(3) / 3.0 + discount * system.T @ form @ system
    rest = discount * noise**2 * form.trace() / (1.0 - discount)
    states = torch.randn(2_000, 3, generator=torch.Generator().manual_seed(7))
    truth = ((states @ form) * states).sum(-1, keepdim=True) + rest
    model = dense(3, 64, 64, 1)
    target = copy.deepcopy(model).requires_grad_(False)
    order = generator(seed, "order")

    def batches() -> Iterator[Batch]:
        while True:
            state, push = torch.randn(2, 64, 3, generator=order)
            yield state, (state**2).mean(1, keepdim=True), state @ system.T + noise * push

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        now, cost, after = batch
        with torch.no_grad():
            goal = cost + discount * target(after)
        return nn.functional.mse_loss(model(now), goal)

    def evaluate(model: nn.Module) -> float:
        with torch.no_grad():
            return float(((model(states) - truth) ** 2).mean() / truth.var())

    def follow(step: int, model: nn.Module) -> None:
        del step
        with torch.no_grad():
            for mine, its in zip(target.parameters(), model.parameters(), strict=True):
                mine.lerp_(its, 0.02)

    return Instance(model, batches(), loss, evaluate, on_step=follow)


def mean_teacher(seed: int) -> Instance:
    """MNIST at 14×14, 1,000 labels; on 19,000 more images what a teacher says, which follows by 1 % a step; batch 32.

    Student and teacher see an image with different noise. Held out: the student's cross-entropy.

    Returns:
        The instance.
    """
    images, labels, test, truth = mnist_images(20_000, 2_000, 2)
    x, draw = images.flatten(1), generator(seed, "noise")
    model = dense(196, 128, 64, 10)
    teacher = copy.deepcopy(model).requires_grad_(False)

    def noisy(part: Tensor) -> Tensor:
        return part + 0.3 * torch.randn(part.shape, generator=draw)

    def batches() -> Iterator[Batch]:
        known, others = shuffled((x[:1_000], labels[:1_000]), 32, seed), shuffled((x[1_000:],), 32, seed)
        for (inputs, targets), (other,) in zip(known, others, strict=False):
            yield noisy(inputs), targets, noisy(other), noisy(other)

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        inputs, targets, mine, its = batch
        with torch.no_grad():
            goal = teacher(its).softmax(-1)
        apart = ((model(mine).softmax(-1) - goal) ** 2).sum(-1).mean()
        return nn.functional.cross_entropy(model(inputs), targets) + apart

    def follow(step: int, model: nn.Module) -> None:
        del step
        with torch.no_grad():
            for old, new in zip(teacher.parameters(), model.parameters(), strict=True):
                old.lerp_(new, 0.01)

    evaluate = held_out(cross_entropy, (test.flatten(1), truth))
    return Instance(model, batches(), loss, evaluate, on_step=follow)
