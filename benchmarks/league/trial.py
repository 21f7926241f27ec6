"""One run of a method on a problem."""

from __future__ import annotations

import math
import time
import warnings
from dataclasses import asdict, dataclass
from typing import Any

import torch

from benchmarks.league.methods.driver import Driver, Method
from benchmarks.league.problem import Instance, Problem
from curvestep.nn import refresh_batch_norm

LOOKS = 20


@dataclass(frozen=True)
class Trial:
    """What a run gave.

    Args:
        problem: name of the problem.
        method: name of the method.
        seed: of data, order, noise and initial weights.
        scale: factor of the number of steps.
        steps: steps of the run.
        curve: (step, seconds, held-out loss) at twentieths of the run; seconds are CPU time of the process without the
            evaluations, and the loss is infinite from a divergence on.
        report: what the method says of its run.
    """

    problem: str
    method: str
    seed: int
    scale: float
    steps: int
    curve: tuple[tuple[int, float, float], ...]
    report: dict[str, Any]

    @property
    def key(self) -> tuple[str, str, int, float]:
        """What makes two runs the same."""
        return self.problem, self.method, self.seed, self.scale

    @property
    def final(self) -> float:
        """The held-out loss at the end."""
        return self.curve[-1][2]

    def to_json(self) -> dict[str, Any]:
        """Return the trial as JSON data; infinity becomes null."""
        rows = [(k, round(s, 3), float(f"{loss:.6g}") if math.isfinite(loss) else None) for k, s, loss in self.curve]
        report = {n: v if not isinstance(v, float) or math.isfinite(v) else None for n, v in self.report.items()}
        return {**asdict(self), "curve": rows, "report": report}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Trial:
        """Return the trial that ``to_json`` made the data from.

        Raises:
            ValueError: a field is missing or unknown.
        """
        try:
            curve = tuple((k, s, math.inf if loss is None else loss) for k, s, loss in data["curve"])
            return cls(**{**data, "curve": curve})
        except (KeyError, TypeError) as error:
            raise ValueError(f"its fields are not those of a trial ({error})") from error


def _look(instance: Instance, driver: Driver) -> float:
    """Return the held-out loss at the weights that count; the random state and the training weights are kept."""
    with torch.random.fork_rng(), driver.averaged():
        if instance.norm_inputs:
            refresh_batch_norm(instance.model, instance.norm_inputs)
        loss = instance.evaluate(instance.model)
    return loss if math.isfinite(loss) else math.inf


def run(problem: Problem, method: Method, seed: int, scale: float = 1.0) -> Trial:
    """Train once.

    Args:
        problem: what to train.
        method: how.
        seed: of everything that is random.
        scale: factor of the number of steps.

    Returns:
        The trial; a run whose training loss is no longer finite ends there, and its losses are infinite.
    """
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    steps = max(LOOKS, round(problem.steps * scale))
    instance = problem.build(seed)
    driver = method.build(instance.model, steps)
    looks = {round(steps * i / LOOKS) for i in range(1, LOOKS + 1)}
    curve: list[tuple[int, float, float]] = []
    seconds, diverged = 0.0, False
    instance.model.train()
    for step in range(1, steps + 1):
        if not diverged:
            begun = time.process_time()
            batch = next(instance.batches)
            driver.optimizer.zero_grad() if hasattr(driver.optimizer, "zero_grad") else instance.model.zero_grad()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with driver.record():
                    loss = instance.loss(instance.model, batch)
                    loss.backward()
                loss = loss.detach()
                driver.step(loss)
            if instance.on_step is not None:
                instance.on_step(step, instance.model)
            seconds += time.process_time() - begun
            diverged = not math.isfinite(float(loss))
        if step in looks:
            curve.append((step, seconds, math.inf if diverged else _look(instance, driver)))
    return Trial(problem.name, method.name, seed, scale, steps, tuple(curve), driver.report())
