"""A model of products, bytes and times in the sizes of a transformer, fitted to the rows and tried on others."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, final

from benchmarks.growth.plan import HELD_OUT, Size, Variant
from benchmarks.growth.row import GrowthRow

Quantity = Literal["products", "peak", "seconds"]
#: The variants, and the plain steps that they are compared with.
Step = Literal["sgd", "adamw", "whole", "quarter", "split", "auto"]
STEPS: tuple[Step, ...] = ("sgd", "adamw", "whole", "quarter", "split", "auto")
_VARIANTS: dict[Step, Variant] = {
    "sgd": "whole", "adamw": "auto", "whole": "whole", "quarter": "quarter", "split": "split", "auto": "auto",
}  # fmt: skip


def plain_of(step: Variant) -> Step:
    """The plain step that a variant is compared with."""
    return "adamw" if step == "auto" else "sgd"


@final
@dataclass(frozen=True)
class Term:
    """One summand of a model without its coefficient.

    Attributes:
        text: as the page writes it.
        value: of a size.
    """

    text: str
    value: Callable[[Size], float]


#: n = B T tokens, L blocks, w width, T length, h heads, V vocabulary, N parameters.
TERMS: dict[Quantity, tuple[Term, ...]] = {
    "products": (
        Term("n L w²", lambda s: float(s.tokens * s.depth * s.width**2)),
        Term("n L T w", lambda s: float(s.tokens * s.depth * s.length * s.width)),
        Term("n V w", lambda s: float(s.tokens * s.vocabulary * s.width)),
    ),
    "peak": (
        Term("n L w", lambda s: float(s.tokens * s.depth * s.width)),
        Term("n w", lambda s: float(s.tokens * s.width)),
        Term("n L h T", lambda s: float(s.tokens * s.depth * s.heads * s.length)),
        Term("n V", lambda s: float(s.tokens * s.vocabulary)),
        Term("N", lambda s: float(s.parameters)),
    ),
    "seconds": (
        Term("n L w²", lambda s: float(s.tokens * s.depth * s.width**2)),
        Term("n L T w", lambda s: float(s.tokens * s.depth * s.length * s.width)),
        Term("n L w", lambda s: float(s.tokens * s.depth * s.width)),
        Term("N", lambda s: float(s.parameters)),
        Term("L", lambda s: float(s.depth)),
        Term("1", lambda s: 1.0),
    ),
}


@final
@dataclass(frozen=True)
class Model:
    """Σ cᵢ · termᵢ for one quantity of one step.

    Attributes:
        quantity: which.
        coefficients: cᵢ ≥ 0, in multiply-adds, bytes or seconds, in the order of `TERMS`.
    """

    quantity: Quantity
    coefficients: tuple[float, ...]

    def __call__(self, size: Size) -> float:
        """The quantity at a size."""
        return math.fsum(c * term.value(size) for c, term in zip(self.coefficients, TERMS[self.quantity], strict=True))


def fit(rows: Sequence[GrowthRow], quantity: Quantity, step: Step) -> Model:
    """Least squares of the relative errors, coefficients at least 0, on all rows that are not held out.

    Args:
        rows: of one machine.
        quantity: what is fitted.
        step: of which step.

    Returns:
        The model.
    """
    import numpy
    from scipy.optimize import nnls

    own = [row for row in of_step(rows, step) if row.size not in HELD_OUT]
    targets = numpy.array([observed(row, quantity, step) for row in own])
    matrix = numpy.array([[term.value(row.size) for term in TERMS[quantity]] for row in own])
    scales = matrix.max(axis=0)  # columns of one order, or the solver's tolerance eats the small ones
    found, _ = nnls(matrix / scales / targets[:, None], numpy.ones(len(own)))
    return Model(quantity, tuple(float(c) for c in found / scales))


def of_step(rows: Sequence[GrowthRow], step: Step) -> list[GrowthRow]:
    """The rows that have this step."""
    return [row for row in rows if row.variant == _VARIANTS[step]]


def observed(row: GrowthRow, quantity: Quantity, step: Step) -> float:
    """What a row says of a quantity."""
    if step in ("sgd", "adamw"):
        return float({"products": row.plain_products, "peak": row.plain_peak, "seconds": row.plain_seconds}[quantity])
    return float({"products": row.products, "peak": row.peak, "seconds": row.seconds}[quantity])


@final
@dataclass(frozen=True)
class Errors:
    """Relative errors of a model on sizes.

    Attributes:
        median: of their absolute values.
        worst: the largest of them.
    """

    median: float
    worst: float


def errors(predicted: Sequence[float], measured: Sequence[float]) -> Errors:
    """How far predictions are off.

    Args:
        predicted: numbers.
        measured: as many.

    Returns:
        |predicted / measured − 1|: median and largest.

    Example:
        >>> errors([1.0, 1.1, 0.5], [1.0, 1.0, 1.0])
        Errors(median=0.10000000000000009, worst=0.5)
    """
    found = [abs(p / m - 1.0) for p, m in zip(predicted, measured, strict=True)]
    return Errors(statistics.median(found), max(found))


def held_out_errors(rows: Sequence[GrowthRow], model: Model, step: Step, *, fitted: bool = False) -> Errors | None:
    """The errors of a model on the held-out sizes, or on those that it was fitted to; None while there are none."""
    own = [row for row in of_step(rows, step) if (row.size in HELD_OUT) is not fitted]
    if not own:
        return None
    return errors([model(row.size) for row in own], [observed(row, model.quantity, step) for row in own])


def ratio_errors(rows: Sequence[GrowthRow], models: dict[Step, Model], step: Variant, *, fitted: bool) -> Errors | None:
    """The same of the ratio of times, measured in pairs and as the quotient of two models.

    Args:
        rows: of one machine.
        models: of the seconds, by step.
        step: over the plain one.
        fitted: whether the sizes are those of the fit.

    Returns:
        The errors; None while there are none.
    """
    own = [row for row in of_step(rows, step) if (row.size in HELD_OUT) is not fitted]
    if not own:
        return None
    return errors(
        [models[step](row.size) / models[plain_of(step)](row.size) for row in own], [row.median for row in own]
    )
