"""How much of the best decrease along the gradient LQA's step gets, on the batch that it was measured on."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch

import curvestep
from benchmarks.claims.look import Look
from benchmarks.claims.plan import LinePlan
from curvestep.bench.allocator import keep_freed_memory
from curvestep.bench.environment import revision
from curvestep.bench.measure import LOSSES
from curvestep.bench.store import Store
from curvestep.bench.task import LoadRequest
from curvestep.bench.tasks import get_task

# Steps from a thousandth to a thousand times the last one, eight to a decade; then finer ones around the best.
_DECADES, _PER_DECADE, _FINER = 3, 8, 17


def measure_line(
    plan: LinePlan,
    seed: int,
    store: Store[Look],
    data_dir: Path | None,
    told: Callable[[str], None],
    *,
    afresh: bool = False,
) -> None:
    """Do one run, unless the store has it, and add what was seen on its steps.

    The loss along the gradient is computed on the recording of the step's own batch (`Tape.loss_along`), on a grid
    around the last step and a finer one around its best point; then LQA takes its step on that batch, and the loss of
    the batch is computed at its end.

    Args:
        plan: which run.
        seed: initial weights and the order of the batches.
        store: gets all of the run's looks at once.
        data_dir: folder of local data sets.
        told: is told in a line.
        afresh: do it even if the store has it.
    """
    name = f"LQA on {plan.task}, seed {seed}"
    if not afresh and any((look.task, look.seed) == (plan.task, seed) for look in store.read()):
        told(f"{name}: in the store")
        return
    keep_freed_memory()
    task = get_task(plan.task)
    scale = task.scales["small"]
    request = LoadRequest(
        batch_size=scale.batch_size,
        train_size=scale.train_size,
        seed=seed,
        device=torch.device("cpu"),
        data_dir=data_dir,
        augmented=scale.augmented,
        window=scale.window,
        evaluation_size=scale.evaluation_size,
    )
    feed = task.load(request)
    torch.manual_seed(seed)
    network = scale.network.build()
    parameters = [p for p in network.parameters() if p.requires_grad]
    optimizer = curvestep.LQA(parameters)
    batches = (batch for epoch in range(plan.steps) for batch in feed.epoch(epoch))
    looks: list[Look] = []
    at_revision = revision()
    for number, batch in zip(range(1, plan.steps + 1), batches, strict=False):

        def loss() -> torch.Tensor:
            return LOSSES[task.loss](network(batch.inputs), batch.targets)  # noqa: B023 - called in this turn alone

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            value = loss()  # noqa: B023
            value.backward()
            return value

        last = None if optimizer.last_step is None else optimizer.last_step.step_size
        if number % plan.every or last is None or not last > 0.0:
            optimizer.step(closure)
            continue
        optimizer.zero_grad()
        with curvestep.record() as tape:
            loss().backward()
        first = tape.loss.item()
        step, least = _best(tape, parameters, last)
        tape.release()
        optimizer.step(closure)
        taken = optimizer.last_step
        assert taken is not None
        with torch.no_grad():
            reached = loss().item()
        looks.append(
            Look(
                plan.task, seed, number, first, least, reached, step, taken.step_size, taken.outcome.name, at_revision
            )  # fmt: skip
        )
    store.append(*looks)
    told(f"{name}: {len(looks)} line searches")


def _best(tape: curvestep.Tape, parameters: list[torch.nn.Parameter], around: float) -> tuple[float, float]:
    """The best step along the gradient, and the loss there."""
    gradient = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
    count = _DECADES * _PER_DECADE
    wide = [around * 10.0 ** (index / _PER_DECADE) for index in range(-count, count + 1)]
    best = _least(tape, parameters, gradient, wide)
    ratio = 10.0 ** (1.0 / _PER_DECADE)
    finer = [best[1] * ratio ** (2.0 * index / (_FINER - 1) - 1.0) for index in range(_FINER)]
    least, step = min(best, _least(tape, parameters, gradient, finer))
    return step, least


def _least(
    tape: curvestep.Tape, parameters: list[torch.nn.Parameter], gradient: list[torch.Tensor], steps: list[float]
) -> tuple[float, float]:
    """The least loss among these steps, and its step; losses that are not finite do not count."""
    losses = tape.loss_along(parameters, gradient, [-step for step in steps]).tolist()
    return min((loss, step) for loss, step in zip(losses, steps, strict=True) if math.isfinite(loss))
