"""From what a person asks for to checked settings of runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from curvestep.bench.config import DEFAULT_WEIGHT_DECAY, RunConfig
from curvestep.bench.errors import SettingError
from curvestep.bench.methods import METHODS, get_method
from curvestep.bench.tasks import get_task

SCHEDULES = ("exponential", "cosine")
# The benchmark's fourteen learning rates: {1, 5} × 10^n for n from -5 to 1.
LR_GRID = tuple(mantissa * 10.0**exponent for exponent in range(-5, 2) for mantissa in (1, 5))


@dataclass(frozen=True)
class Wish:
    """Settings as given, with None for the task's own."""

    task: str  # name of the task
    scale: str = "paper"  # ``paper`` or ``small``
    epochs: int | None = None  # length of the runs
    steps: int | None = None  # length of the runs in steps, instead of ``epochs``
    batch_size: int | None = None  # examples in a batch
    subset: int | None = None  # number of training examples; test examples are cut to as many
    decay: float = 1.0  # factor on learning rates after each epoch
    schedule: str = "exponential"  # of learning rates
    warmup: int = 0  # steps of warm-up of learning rates
    weight_decay: float = DEFAULT_WEIGHT_DECAY  # λ
    device: str = "cpu"  # where torch computes


def run_config(wish: Wish, method: str, lr: float | None, seed: int) -> RunConfig:
    """Return the checked settings of one run, every number filled in.

    Raises:
        SettingError: if something is unknown, out of range, or does not fit.
    """
    task = get_task(wish.task)
    row = get_method(method)
    if wish.scale not in task.scales:
        raise SettingError(f"The task {task.name} has no scale {wish.scale!r}; it has {', '.join(task.scales)}.")
    scale = task.scales[wish.scale]
    if row.needs_lr and lr is None:
        free = ", ".join(name for name, other in METHODS.items() if not other.needs_lr)
        raise SettingError(f"The method {method} needs a learning rate, give one with --lr; {free} need none.")
    if lr is not None and not row.needs_lr and row.default_lr is None:
        raise SettingError(f"The method {method} takes no learning rate, it measures its step size; leave out --lr.")
    if lr is not None and not (math.isfinite(lr) and lr > 0.0):
        raise SettingError(f"A learning rate is a positive finite number, --lr {lr:g} was given.")
    if not 0.0 < wish.decay <= 1.0:
        raise SettingError(f"A decay factor lies in (0, 1], --decay {wish.decay:g} was given.")
    if wish.schedule not in SCHEDULES:
        raise SettingError(f"There is no schedule {wish.schedule!r}; the schedules are {', '.join(SCHEDULES)}.")
    if wish.schedule == "cosine" and wish.decay != 1.0:
        raise SettingError("--decay belongs to the schedule exponential; leave it out with --schedule cosine.")
    if wish.warmup and wish.schedule != "cosine":
        raise SettingError("--warmup belongs to --schedule cosine; give that, or leave out --warmup.")
    if not (math.isfinite(wish.weight_decay) and wish.weight_decay >= 0.0):
        raise SettingError(f"λ is a finite number ≥ 0, --weight-decay {wish.weight_decay:g} was given.")
    if wish.epochs is not None and wish.steps is not None:
        raise SettingError("Give the length of a run with --epochs or with --steps, not with both.")
    for flag, value in (
        ("--epochs", wish.epochs),
        ("--steps", wish.steps),
        ("--batch-size", wish.batch_size),
        ("--subset", wish.subset),
    ):
        if value is not None and value < 1:
            raise SettingError(f"{flag} is a whole number ≥ 1, {value} was given.")
    if wish.warmup < 0 or (wish.steps is not None and wish.warmup >= wish.steps):
        raise SettingError(f"--warmup must be ≥ 0 and less than the length of the run, {wish.warmup} was given.")
    if seed < 0:
        raise SettingError(f"A seed is a whole number ≥ 0, {seed} was given.")
    config = RunConfig(
        task=task.name,
        method=method,
        scale=wish.scale,
        seed=seed,
        epochs=wish.epochs or scale.epochs,
        batch_size=wish.batch_size or scale.batch_size,
        steps=wish.steps,
        subset=wish.subset if wish.subset is not None else scale.train_size,
        weight_decay=wish.weight_decay,
        device=wish.device,
    )
    # The schedule of a learning rate is no setting of a method that has none, or has one of its own.
    if row.needs_lr and row.takes_schedule:
        return replace(config, lr=lr, decay=wish.decay, schedule=wish.schedule, warmup=wish.warmup)
    # A default that is spelt out is the same run.
    return config if lr == row.default_lr else replace(config, lr=lr)


def refuse_idle_schedule(wish: Wish, methods: Sequence[str]) -> None:
    """Raise SettingError if a schedule was asked for and no method has a learning rate that would follow it."""
    rows = [get_method(name) for name in methods]
    asked = [f"--schedule {wish.schedule}"] if wish.schedule != SCHEDULES[0] else []
    asked += [f"--decay {wish.decay:g}"] if wish.decay != 1.0 else []
    if asked and not any(row.needs_lr and row.takes_schedule for row in rows):
        raise SettingError(
            f"{' and '.join(asked)} would change nothing: {', '.join(methods)} takes no schedule of a learning rate; "
            "leave it out."
        )


def comparison(wish: Wish, methods: Sequence[tuple[str, float | None]], seeds: int) -> tuple[RunConfig, ...]:
    """Return the runs of a comparison: all methods with seed 0, then all with seed 1, and so on.

    Raises:
        SettingError: if something is unknown, out of range, or does not fit.
    """
    if seeds < 1:
        raise SettingError(f"--seeds is a whole number ≥ 1, {seeds} was given.")
    return tuple(run_config(wish, method, lr, seed) for seed in range(seeds) for method, lr in methods)


def with_rates(methods: Sequence[str], lrs: Sequence[float]) -> list[tuple[str, float | None]]:
    """Return each method that needs a learning rate once with each rate, the others once at their defaults.

    Raises:
        SettingError: if a method is unknown, or learning rates are missing or given for nothing.
    """
    if not methods:
        raise SettingError(f"--methods needs at least one of {', '.join(METHODS)}.")
    rows = [get_method(name) for name in dict.fromkeys(methods)]
    needing = [row.name for row in rows if row.needs_lr]
    if needing and not lrs:
        raise SettingError(f"{', '.join(needing)} need learning rates; give some with --lrs, as in --lrs 1e-3,3e-3.")
    if lrs and not needing:
        raise SettingError("None of the methods takes a learning rate; leave out --lrs.")
    return [(row.name, lr) for row in rows for lr in (dict.fromkeys(lrs) if row.needs_lr else (None,))]
