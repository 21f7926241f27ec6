"""Which runs are made: methods, the number that each is given, tasks, seeds. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

from curvestep.bench.config import RunConfig
from curvestep.bench.settings import Wish

SEEDS = 3

#: Nine decades, two values to each, the same for every method whatever its number means.
VALUES: tuple[float, ...] = tuple(float(f"{10.0 ** (half / 2):.6g}") for half in range(-12, 7))

SubjectName = Literal[
    "level-sgd", "level-adam", "auto", "auto-ceiling", "lqa", "alig", "eg-sgd", "sgd", "rmsprop", "adamw"
]  # fmt: skip


@final
@dataclass(frozen=True)
class Subject:
    """A method with the number that is varied.

    Attributes:
        name: in rows and tables.
        varied: what the number is.
        default: what the library, or the source, gives it; None where the user has to choose.
        colour: the method of other figures whose colour and dashes it has.
    """

    name: SubjectName
    varied: str
    default: float | None
    colour: str


SUBJECTS: tuple[Subject, ...] = (
    Subject("level-sgd", "ℓ of RescaledSGD, constant", 0.5, "red-sgd"),
    Subject("level-adam", "ℓ of RescaledAdam, constant", 0.5, "half-adam"),
    Subject("auto", "first scale of Auto", 0.07, "auto"),
    Subject("auto-ceiling", "peak of CeilingAdam", 0.006, "auto-ceiling"),
    Subject("lqa", "ℓ of LQA", 0.5, "lqa"),
    Subject("alig", "cap of ALI-G", 1.0, "alig"),
    Subject("eg-sgd", "first rate of EG around SGD", None, "eg-sgd"),
    Subject("sgd", "rate of SGD", None, "sgd"),
    Subject("rmsprop", "rate of RMSprop", None, "rmsprop"),
    Subject("adamw", "rate of AdamW", None, "adamw"),
)

#: A few hundred steps each.
WISHES: dict[str, Wish] = {
    "digits-mlp": Wish("digits-mlp", scale="paper", epochs=20),
    "mnist-lenet": Wish("mnist-lenet", scale="small", epochs=4, subset=4096),
}


@final
@dataclass(frozen=True)
class Case:
    """One run.

    Attributes:
        task: of `WISHES`.
        subject: the method.
        value: of the number that is varied.
        seed: initial weights and order of the batches.
    """

    task: str
    subject: Subject
    value: float
    seed: int

    def config(self) -> RunConfig:
        """The settings; the method is none of the command line's, and its number stands as the rate."""
        from curvestep.bench.tasks import get_task

        wish = WISHES[self.task]
        scale = get_task(wish.task).scales[wish.scale]
        return RunConfig(
            task=wish.task,
            method=self.subject.name,
            scale=wish.scale,
            seed=self.seed,
            epochs=wish.epochs or scale.epochs,
            batch_size=scale.batch_size,
            subset=wish.subset or scale.train_size,
            lr=self.value,
            weight_decay=wish.weight_decay,
        )


def cases(task: str) -> tuple[Case, ...]:
    """All runs of a task, seed by seed, so that a store that was cut off has whole curves of fewer seeds."""
    return tuple(Case(task, subject, value, seed) for seed in range(SEEDS) for subject in SUBJECTS for value in VALUES)
