"""Which runs each claim asks for; fixed before any of them was made. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

from curvestep.bench.config import RunConfig
from curvestep.bench.settings import Wish, comparison

Name = Literal["line", "interpolation", "recovery"]
NAMES: tuple[Name, ...] = ("line", "interpolation", "recovery")
SEEDS = 3


@final
@dataclass(frozen=True)
class LinePlan:
    """A run of LQA that is looked at on some of its steps.

    Args:
        task: at the small scale, without L2 term.
        steps: length of the run.
        every: a line search on every so many steps, from the second of them on.
    """

    task: str
    steps: int
    every: int


LINE = (LinePlan("mnist-lenet", steps=312, every=4), LinePlan("shakespeare-gpt", steps=160, every=10))
#: The least median share of the best decrease for which the first claim counts as held.
LEAST_SHARE = 0.98

# Under interpolation: no L2 term, and long enough to fit the training data.
INTERPOLATION = (Wish("digits-mlp", scale="paper"), Wish("mnist-lenet", scale="small"))
SGD_RATES = (0.05, 0.1, 0.5, 1.0)
SGD_DECAYS = (1.0, 0.95)

RECOVERY = Wish("mnist-stream", scale="small")
RECOVERY_RATES = (0.01, 0.05, 0.1, 0.5)


def interpolation_configs() -> tuple[RunConfig, ...]:
    """ALI-G with its cap of 1 and SGD's grid, on each of the tasks."""
    found: list[RunConfig] = []
    for wish in INTERPOLATION:
        for decay in SGD_DECAYS:
            plain = Wish(wish.task, wish.scale, decay=decay, weight_decay=0.0)
            rows: list[tuple[str, float | None]] = [("sgd", rate) for rate in SGD_RATES]
            if decay == 1.0:
                rows.insert(0, ("alig", None))
            found += comparison(plain, rows, SEEDS)
    return tuple(found)


def recovery_configs() -> tuple[RunConfig, ...]:
    """SGD at fixed rates, and with the exponentiated gradient around it, started at the same rates."""
    rows: list[tuple[str, float | None]] = [(name, rate) for rate in RECOVERY_RATES for name in ("sgd", "eg-sgd")]
    return comparison(RECOVERY, rows, SEEDS)


def turns(config: RunConfig) -> int:
    """How often the data of a run of `mnist-stream` turns: before each epoch but the first."""
    return config.epochs - 1
