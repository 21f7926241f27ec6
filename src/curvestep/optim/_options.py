"""Options of a parameter group that several optimizers share, read into records and checked once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final, get_args

from torch import Tensor

from curvestep.engine import Order, Precision

#: Names in every parameter group of the options that say how the curvature is measured.
SAMPLES = "curvature_samples"
KIND = "curvature_kind"
EVERY = "curvature_every"
PRECISION = "curvature_precision"
#: Name in every parameter group of the number of curvatures that were measured: which part of the batch is next.
MEASUREMENTS = "measurements"
#: Name in every parameter group of the decay of the averaged curvature.
BETA3 = "beta3"


@final
@dataclass(frozen=True)
class Measure:
    """How the curvature is measured; the arguments of ``Tape.curvature``."""

    samples: int | float | None = None  # how many samples of the batch, or what share; None for all
    kind: Order = "exact"  # the loss's own second derivative, or its generalised Gauss-Newton form
    precision: Precision = "recorded"  # the dtypes of its tangents and products
    announced: bool = True  # whether to warn where the batch cannot be cut: only where a user asked for a part
    part: int | Tensor = 0  # which of the parts of that size; a tensor in a graph that serves all of them

    @classmethod
    def of(cls, group: Mapping[str, Any], *, announced: bool = True) -> Measure:
        """Read the options of a parameter group; refuse what cannot be measured."""
        samples, kind = group.get(SAMPLES), group.get(KIND, "exact")
        number = isinstance(samples, (int, float)) and not isinstance(samples, bool)
        whole = isinstance(samples, int) and number and samples >= 1
        share = isinstance(samples, float) and 0.0 < samples <= 1.0
        if not (samples is None or whole or share):
            msg = (
                f"{SAMPLES} is the number of samples on which the curvature is measured, a whole number of at least 1, "
                f"or their share of the batch in (0, 1], or None for all of them, but {SAMPLES}={samples!r} was given."
            )
            raise ValueError(msg)
        if kind not in get_args(Order):
            raise ValueError(f"{KIND} must be 'exact' or 'ggn', but {KIND}={kind!r} was given.")
        precision = group.get(PRECISION, "recorded")
        if precision not in get_args(Precision):
            allowed = ", ".join(get_args(Precision))
            raise ValueError(f"{PRECISION} must be one of {allowed}, but {PRECISION}={precision!r} was given.")
        return cls(samples, kind, precision, announced, int(group.get(MEASUREMENTS, 0)))


def check_number(options: Mapping[str, Any], name: str, meaning: str) -> None:
    """Refuse an option that is given and is not a finite number of at least 0."""
    value = options.get(name, 0.0)
    valid = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0.0
    if not valid:
        msg = f"{name} is {meaning} and must be a finite number of at least 0, but {name}={value!r} was given."
        raise ValueError(msg)


def check_rate(options: Mapping[str, Any]) -> None:
    """Refuse a learning rate, which a constructor calls ``rate`` and a group ``lr``, that is not finite or negative."""
    rate = options["lr"]
    valid = isinstance(rate, (int, float)) and not isinstance(rate, bool) and math.isfinite(rate) and rate >= 0.0
    if not valid:
        msg = (
            "rate (lr in a group) is α, a learning rate, and must be a finite number of at least 0, but "
            f"{rate!r} was given."
        )
        raise ValueError(msg)


def pair_of(options: Mapping[str, Any], name: str, meaning: str) -> tuple[float, float]:
    """Return an option that is a pair; refuse what is not one."""
    value = options[name]
    if not (isinstance(value, (tuple, list)) and len(value) == 2):
        raise ValueError(f"{name} must be the pair of {meaning}, but {name}={value!r} was given.")
    return value[0], value[1]
