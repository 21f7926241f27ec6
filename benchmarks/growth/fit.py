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
Step = Literal["sgd", "adamw", "whole", "quarter", "split", "quarter-split"]
STEPS: tuple[Step, ...] = ("sgd", "adamw", "whole", "quarter", "split", "quarter-split")
_VARIANTS: dict[Step, Variant] = {
    "sgd": "whole", "adamw": "quarter-split", "whole": "whole", "quarter": "quarter", "split": "split",
    "quarter-split": "quarter-split",
}  # fmt: skip


def plain_of(step: Variant) -> Step:
    """The plain step that a variant is compared with."""
    return "adamw" if step == "quarter-split" else "sgd"


def gradients(size: Size) -> float:
    """Bytes of all gradients in float32."""
    return float(_ENTRY * size.parameters)


def measured_tokens(size: Size, step: Step) -> int:
    """m: the tokens of the sequences that a step measures, at least one of them; 0 for a plain step."""
    if step in ("sgd", "adamw"):
        return 0
    share = 0.25 if step in ("quarter", "quarter-split") else 1.0
    return size.length * math.ceil(share * size.batch)


@final
@dataclass(frozen=True)
class Term:
    """One summand of a model without its coefficient.

    Attributes:
        text: as the page writes it.
        value: of a size and a number of tokens.
    """

    text: str
    value: Callable[[Size, int], float]


#: t tokens (n = B T in a batch, m measured), L blocks, w width, T length, h heads, V vocabulary, N parameters.
TERMS: dict[Quantity, tuple[Term, ...]] = {
    "products": (
        Term("t L w²", lambda s, t: float(t * s.depth * s.width**2)),
        Term("t L T w", lambda s, t: float(t * s.depth * s.length * s.width)),
        Term("t V w", lambda s, t: float(t * s.vocabulary * s.width)),
    ),
    "peak": (
        Term("t L w", lambda s, t: float(t * s.depth * s.width)),
        Term("t w", lambda s, t: float(t * s.width)),
        Term("t L h T", lambda s, t: float(t * s.depth * s.heads * s.length)),
        Term("t h T", lambda s, t: float(t * s.heads * s.length)),
        Term("t V", lambda s, t: float(t * s.vocabulary)),
        Term("n L w", lambda s, t: float(s.tokens * s.depth * s.width)),
        Term("N", lambda s, t: float(s.parameters)),
    ),
    "seconds": (
        Term("t L w²", lambda s, t: float(t * s.depth * s.width**2)),
        Term("t L T w", lambda s, t: float(t * s.depth * s.length * s.width)),
        Term("t L w", lambda s, t: float(t * s.depth * s.width)),
        Term("N", lambda s, t: float(s.parameters)),
        Term("L", lambda s, t: float(s.depth)),
        Term("1", lambda s, t: 1.0),
    ),
}
#: Below so many of width or of measured tokens the rule of a product takes three instead of two.
_WIDE = 128
#: A peak that exceeds the plain step's, or that of the gradients, by less is that one.
_SAME = 1.02
#: Bytes of a gradient's entry: a plain step ends with all gradients and no activations.
_ENTRY = 4


@final
@dataclass(frozen=True)
class Model:
    """One quantity of one step.

    Plain steps: Σ cᵢ · termᵢ at t = n; of bytes the larger one of that, which are activations, and of all gradients.
    Measured ones, at t = m: products and time of the plain step and Σ cᵢ · termᵢ beside; of bytes the larger one of the
    plain step's peak and Σ cᵢ · termᵢ, for the two are not at one time.

    Attributes:
        quantity: which.
        step: of which step.
        coefficients: cᵢ ≥ 0, in multiply-adds, bytes or seconds, in the order of `TERMS`.
        plain: the model of the plain step; None for a plain step.
    """

    quantity: Quantity
    step: Step
    coefficients: tuple[float, ...]
    plain: Model | None = None

    def __call__(self, size: Size) -> float:
        """The quantity at a size."""
        own = self.own(size)
        if self.plain is None:
            return max(own, gradients(size)) if self.quantity == "peak" else own
        return max(self.plain(size), own) if self.quantity == "peak" else self.plain(size) + own

    def own(self, size: Size) -> float:
        """The sum of its own terms."""
        tokens = size.tokens if self.plain is None else measured_tokens(size, self.step)
        terms = TERMS[self.quantity]
        return math.fsum(c * term.value(size, tokens) for c, term in zip(self.coefficients, terms, strict=True))


def fit(rows: Sequence[GrowthRow], quantity: Quantity, step: Step) -> Model:
    """Least squares of the relative errors, coefficients at least 0, on all rows that are not held out.

    Args:
        rows: of one machine.
        quantity: what is fitted.
        step: of which step.

    Returns:
        The model.
    """
    own = [row for row in of_step(rows, step) if row.size not in HELD_OUT]
    if step in ("sgd", "adamw"):
        if quantity == "peak":
            own = [row for row in own if row.plain_peak > _SAME * gradients(row.size)]
        targets = [observed(row, quantity, step) for row in own]
        tokens = [row.size.tokens for row in own]
        return Model(
            quantity, step, _coefficients(own, quantity, tokens, targets, targets, activations=quantity == "peak")
        )
    base = plain_of(_VARIANTS[step])
    plain = fit(rows, quantity, base)
    if quantity == "products":
        own = [row for row in own if min(row.width, measured_tokens(row.size, step)) >= _WIDE]
    if quantity == "peak":
        own = [row for row in own if row.peak > _SAME * row.plain_peak]
    whole = [observed(row, quantity, step) for row in own]
    before = [0.0 if quantity == "peak" else observed(row, quantity, base) for row in own]
    targets = [a - b for a, b in zip(whole, before, strict=True)]
    tokens = [measured_tokens(row.size, step) for row in own]
    return Model(quantity, step, _coefficients(own, quantity, tokens, targets, whole), plain)


def _coefficients(
    rows: Sequence[GrowthRow],
    quantity: Quantity,
    tokens: Sequence[int],
    targets: Sequence[float],
    weights: Sequence[float],
    *,
    activations: bool = False,
) -> tuple[float, ...]:
    """The coefficients that give the targets, errors counted in units of the weights; none below 0.

    With `activations` that of N, the last term, is 0.

    Returns:
        As many as there are terms.
    """
    import numpy
    from scipy.optimize import nnls

    terms = TERMS[quantity]
    if not rows:
        return (0.0,) * len(terms)
    matrix = numpy.array([[term.value(row.size, t) for term in terms] for row, t in zip(rows, tokens, strict=True)])
    if activations:
        matrix[:, -1] = 0.0
    scales = numpy.maximum(
        matrix.max(axis=0), 1.0
    )  # columns of one order, or the solver's tolerance eats the small ones
    unit = numpy.array(weights)
    found, _ = nnls(matrix / scales / unit[:, None], numpy.array(targets) / unit)
    return tuple(float(c) for c in found / scales)


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
