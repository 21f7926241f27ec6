"""What is true of an operation, as a record: its row in the tables of `curvestep.engine.rules`."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

from curvestep.engine.data.samples import Annotation, Renumbering, SampleAxis


class Kind(enum.Enum):
    """How an operation depends on its differentiable inputs."""

    LINEAR = "linear in all of them together"
    MULTILINEAR = "linear in each factor on its own"
    NONLINEAR = "anything else"
    CONSTANT = "piecewise constant: the derivative is zero wherever it exists"


#: In which dtype a pass in bfloat16 works: a product of matrices; what takes the dtype of the tangents that arrive (no
#: long sums); a normalisation (statistics in float32, as many elements out as in); anything else in float32.
Dtype = Literal["product", "arriving", "statistics", "wide"]

NONE, MEAN, SUM = 0, 1, 2  # at::Reduction


@final
@dataclass(frozen=True, slots=True)
class Reduction:
    """How an operation sums over the samples.

    Attributes:
        by: "sum", "mean", or the position of the argument that says so as an at::Reduction.
        weights: the output that holds the weights by which a mean divides; None for the number of elements.
    """

    by: Literal["sum", "mean"] | int
    weights: int | None = None

    def mode(self, args: Sequence[Any]) -> int:
        """NONE, MEAN or SUM."""
        if isinstance(self.by, str):
            return SUM if self.by == "sum" else MEAN
        return args[self.by] if self.by < len(args) else MEAN


@final
@dataclass(frozen=True, slots=True)
class Product:
    """A product of matrices or a convolution, to be counted.

    Attributes:
        factors: the positions of its factors.
        polarises: whether its rule can take the first tangent from the value that is at hand.
        size: node → multiply-adds; None for matrices.
    """

    factors: tuple[int, int]
    polarises: bool = False
    size: Callable[[Any], int] | None = None


class NotCut(Exception):
    """Why an operation, and so the recording, cannot be cut to some of its samples; never leaves the engine."""


@final
@dataclass(frozen=True, slots=True)
class Cut:
    """How an operation is run on some of the samples, where that does not follow from its axis rule.

    Attributes:
        sizes: arguments, shape of the output, narrowed(input, shape) → the arguments with their explicit sizes changed.
        aligned: node, axis of the output, output → the axis of each input that lies under it, or None for the axes of
            the inputs' own.
        statistics: node, axis of the first output → the axis of kept outputs along which their samples lie.
        counts: node, axis of each input, number of samples → the input whose entries are the numbers of the samples,
            and its axis; None without one. On a part it counts the samples of that part.
        renumbers: node, annotation of each input, axis of the output → the axis of each input, and the index among them
            that numbers rows of samples; None without one. It is asked where a user named the rows of the samples.
    """

    sizes: Callable[[list[Any], tuple[int, ...], Callable[[int, Any], Any]], list[Any]] | None = None
    aligned: Callable[[Any, SampleAxis, Any], Callable[[Any], SampleAxis | None] | None] | None = None
    statistics: Callable[[Any, Annotation], SampleAxis | None] | None = None
    counts: Callable[[Any, Sequence[SampleAxis | None], int], tuple[Any, SampleAxis] | None] | None = None
    renumbers: (
        Callable[[Any, Sequence[Annotation], SampleAxis], tuple[list[SampleAxis | None], Renumbering] | None] | None
    ) = None


@final
@dataclass(frozen=True, slots=True)
class Rule:
    """Everything that the engine knows of an operation.

    Its functions take a `Site` or an `AxisSite` of `curvestep.engine.rules.site`. One of `propagate` and `formula` is
    there; where both are, the formula serves the sites for which `propagate` returns None.
    """

    kind: Kind
    propagate: Callable[[Any], Any] | None  # site → jets of the outputs
    axis: Callable[[Any], Any]  # axis site → where the samples are in the outputs
    factors: tuple[int, ...] = ()  # arguments that count as factors of a MULTILINEAR operation
    keep_inputs: tuple[int, ...] = ()  # arguments whose values a NONLINEAR rule reads
    keep_outputs: tuple[int, ...] = ()  # outputs whose values a rule reads
    couples: Callable[[Any], bool] | None = None  # axis site → whether one sample's output depends on other samples
    formula: Callable[..., Any] | None = None  # the operation written with operations that have rules
    rerun: Callable[[Any, tuple[Any, ...], bool], Any] | None = None  # how a replay runs it: site, arguments, watched
    may_read: Callable[[Sequence[Any], Any], bool] | None = None  # arguments, output → whether a rule may want it
    # -- what passes and reports ask; `op` fills these in ---------------------------------------------------------
    dtype: Dtype = "wide"
    kinks: bool = False  # whether its first derivative jumps somewhere
    reduces: Reduction | None = None
    product: Product | None = None
    attends: bool = False  # whether it is softmax(Q Kᵀ) V of its first three arguments
    cut: Cut = Cut()
    draws: bool = False  # whether a batch may be drawn out of data by it: what it returns is data of its own
    reads_values: Callable[[Any], Any] | None = None  # node → what its axis rule reads beyond shapes, hashable
    guards: Callable[[Any, Any], bool] | None = None  # node, tensor → whether its write without gradients left that be
    writes_out: bool = False  # whether it makes a lazy conjugate a real one, which autograd does not mark
    detaches: bool = False  # whether it returns its argument without a gradient

    def curved(self, live: Sequence[bool]) -> bool:
        """Whether the operation has a second derivative, given which arguments carry gradients."""
        if self.kind is Kind.NONLINEAR:
            return True
        return self.kind is Kind.MULTILINEAR and sum([live[i] for i in self.factors if i < len(live)]) > 1
