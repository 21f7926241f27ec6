"""The optimizers against the algorithms of the source written out naively, on a small net."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from curvestep.optim import AbstractComposedOptimizer, RescaledAdam, RescaledRMSprop, RescaledSGD, _recorded
from tests.optim.problem import Problem, assert_close, make_problem
from tests.reference import curvature_rescaling, double_backward

# A step at ℓ = 1 is as long as it can be without the loss growing, and the difference between two ways of summing
# grows from step to step with it; at ½ and below it stays. Hence two lengths. The largest differences seen are 5e-10
# and 9e-12.
CONVERGING = ([0.5 * 0.5 ** (k / 100) for k in range(100)], 1e-8)
EXPLORING = ([0.5 ** (k / 20) for k in range(20)], 1e-10)

Form = Literal["sgd", "rmsprop", "adam", "momentum"]
CASES: list[tuple[Form, type[AbstractComposedOptimizer], dict[str, Any], dict[str, Any]]] = [
    ("sgd", RescaledSGD, {}, {}),
    ("sgd", RescaledSGD, {"weight_decay": 1e-3, "beta3": 0.5}, {"l2": 1e-3, "beta3": 0.5}),
    ("rmsprop", RescaledRMSprop, {}, {}),
    ("rmsprop", RescaledRMSprop, {"weight_decay": 1e-3}, {"l2": 1e-3}),
    ("adam", RescaledAdam, {"betas": (0.9, 0.999)}, {}),
    ("adam", RescaledAdam, {"weight_decay": 1e-3}, {"l2": 1e-3, "beta2": 0.99}),
    ("momentum", RescaledSGD, {"momentum": 0.9}, {}),
]
CASE_IDS = ["sgd", "sgd L2 β₃=½", "rmsprop", "rmsprop L2", "adam β₂=.999", "adam L2", "momentum"]


def flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def naive(problem: Problem, form: Form, levels: list[float], **options: Any) -> list[Tensor]:
    """The reference's trajectory from the problem's parameters."""
    names = {name: parameter.shape for name, parameter in problem.net.named_parameters()}

    def sample_losses(theta: Tensor, batch: object) -> Tensor:
        assert isinstance(batch, int)
        pieces = theta.split([shape.numel() for shape in names.values()])
        weights = {name: piece.reshape(shape) for (name, shape), piece in zip(names.items(), pieces, strict=True)}
        scores = functional_call(problem.net, weights, (problem.inputs[batch % 5],))
        return functional.cross_entropy(scores, problem.targets[batch % 5], reduction="none")

    start = flat(problem.parameters())
    return curvature_rescaling.train(start, sample_losses, range(len(levels)), levels, form, **options)


def trajectory(problem: Problem, optimizer: AbstractComposedOptimizer, levels: list[float]) -> list[Tensor]:
    """The parameters after every step."""
    found = []
    for batch, level in enumerate(levels):
        optimizer.param_groups[0]["lr"] = level
        optimizer.step(problem.closure(optimizer, batch))
        found.append(flat(problem.parameters()))
    return found


@pytest.mark.parametrize(("levels", "tolerance"), [CONVERGING, EXPLORING], ids=["converging", "exploring"])
@pytest.mark.parametrize(("form", "make", "options", "naive_options"), CASES, ids=CASE_IDS)
def test_every_step_follows_the_algorithm_of_the_source(
    form: Form,
    make: type[AbstractComposedOptimizer],
    options: dict[str, Any],
    naive_options: dict[str, Any],
    levels: list[float],
    tolerance: float,
) -> None:
    problem = make_problem()
    found = trajectory(problem, make(problem.net.parameters(), **options), levels)
    assert_close(found, naive(make_problem(), form, levels, **naive_options), tolerance)


def test_the_engine_and_double_backward_give_the_same_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    levels, tolerance = EXPLORING
    problem = make_problem()
    with_engine = trajectory(problem, RescaledAdam(problem.net.parameters(), weight_decay=1e-3), levels)
    monkeypatch.setattr(_recorded, "record", double_backward.record)
    problem = make_problem()
    with_truth = trajectory(problem, RescaledAdam(problem.net.parameters(), weight_decay=1e-3), levels)
    assert_close(with_engine, with_truth, tolerance)
