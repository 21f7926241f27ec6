"""What a rule sees of one operation on the tape.

A rule propagates *jets*: along θ + t d every tensor on the tape is x(t) = x + t ẋ + ½t² ẍ + o(t²). For an operation
y = F(x) a rule returns

    ẏ = ∂F[ẋ]        and        ÿ = ∂F[ẍ] + ∇²F[ẋ, ẋ].

That one function serves every pass: with ẍ = 0 the second part is the term that Algorithm 2 contracts with the
cotangent of y; carried forward it is the Taylor pass. Zero tangents are `None`, so a rule never multiplies by zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from curvestep._errors import RecordingError
from curvestep.engine.data.recording import Products
from curvestep.engine.data.samples import Annotation, Marker, Owners
from curvestep.engine.data.value import Node, Value
from curvestep.engine.rules.operators import functional_twin


@final
@dataclass(frozen=True, slots=True)
class Spread:
    """A second-order term before the sum that makes it a scalar, so that it can still be split over samples.

    `terms` has the shape of input `like`; the scalar's own second-order part is `terms.sum()`.
    """

    terms: Tensor
    like: int


Jet = tuple["Tensor | None", "Tensor | Spread | None"]
Propagate = Callable[["Site"], "Jet | Sequence[Jet]"]
AxisRule = Callable[["AxisSite"], "Annotation | Sequence[Annotation]"]


def require_unchanged(value: Value, tensor: Tensor, reader: Node | None = None) -> None:
    """Refuse the tensor of a value that was written to or replaced since it was recorded; None reads a parameter."""
    if value.version < 0:
        return
    how = "overwritten in place" if tensor._version != value.version else ""
    if value.place and tensor.data_ptr() != value.place:
        how = "given other data"
    if how:
        what = "parameter" if reader is None else f"input of {reader.name}"
        raise RecordingError(
            f"The {what} as it was in the forward was needed, but the tensor of shape {tuple(tensor.shape)} was {how} "
            "since. Write to a copy, or call step() first."
        )


class Arguments:
    """The arguments of one operation on the tape."""

    __slots__ = ("node",)

    def __init__(self, node: Node) -> None:
        self.node = node

    def arg(self, index: int, default: Any = None) -> Any:
        """Argument `index` as recorded; tensors are values."""
        args = self.node.args
        return args[index] if index < len(args) else default

    def option(self, index: int, name: str, default: Any = None) -> Any:
        """An argument that may have come by position or by keyword."""
        args = self.node.args
        return args[index] if index < len(args) else self.node.kwargs.get(name, default)


@final
class Site(Arguments):
    """One operation on the tape together with the tangents that arrive at it: what a rule sees."""

    __slots__ = (
        "_first", "_present", "_read", "_reads", "_second", "first_only", "on_host", "products", "watched",
    )  # fmt: skip

    def __init__(
        self,
        node: Node,
        first: dict[Value, Tensor],
        second: dict[Value, Tensor],
        present: dict[Value, Tensor] | None = None,
        *,
        first_only: bool = False,
        products: Products = Products.NAIVE,
        on_host: bool = False,
        watched: bool = False,
        reads: Mapping[torch.dtype, torch.dtype] | None = None,
    ) -> None:
        self.node = node
        self._first = first
        self._second = second
        self._present = present  # values of a replay, which stand in for the recorded ones
        self.first_only = first_only  # ÿ will not be read: a rule may leave it out where that saves work
        self.products = products
        self.watched = watched  # autograd will differentiate what a rule computes
        self._reads = reads  # dtypes that stand for the recorded ones, those of the tangents given; None: the same
        self._read: dict[Value, Tensor] = {}
        self.on_host = on_host  # a rule may read numbers: nothing waits for them and nothing is being traced

    @property
    def op(self) -> Any:
        """The operation that ran; that which writes nothing in place of one that wrote in place."""
        return (functional_twin(self.node.op) if self.node.mutates else None) or self.node.op

    def x(self, index: int) -> Tensor:
        """The recorded value of tensor argument `index`."""
        return self.data(self.node.args[index])

    def y(self, index: int = 0) -> Tensor:
        """The recorded value of output `index`."""
        value = self.node.outputs[index]
        assert value is not None
        return self.data(value)

    def dtype(self, value: Value) -> torch.dtype:
        """The dtype in which the rule works with a value and its tangents."""
        return value.dtype if self._reads is None else self._reads.get(value.dtype, value.dtype)

    def data(self, value: Value) -> Tensor:
        """The recorded tensor of a value in the dtype of the pass, refused if it was overwritten since."""
        if self._reads is None:
            return self._recorded(value)
        found = self._read.get(value)
        if found is None:
            found = self._read[value] = self._recorded(value).to(self.dtype(value))
        return found

    def _recorded(self, value: Value) -> Tensor:
        if self._present is not None and value in self._present:
            return self._present[value]
        tensor = value.data
        if tensor is None:
            raise RecordingError(f"The value of an input of {self.node.name} was needed, but the tape did not keep it.")
        require_unchanged(value, tensor, self.node)
        return tensor.detach() if tensor.requires_grad else tensor

    def has(self, value: Value) -> bool:
        """Whether the tensor of a value is at hand, or was and has been overwritten since."""
        return value.data is not None or (self._present is not None and value in self._present)

    def held(self, value: Value) -> Tensor | None:
        """The recorded tensor of a value where it is at hand: neither dropped nor overwritten since."""
        if self._present is not None and value in self._present:
            return self._present[value]
        tensor = value.data
        if tensor is None or value.overwritten:
            return None
        return tensor.detach() if tensor.requires_grad else tensor

    def live(self, index: int) -> bool:
        """Whether argument `index` is a tensor that carries a gradient."""
        value = self.arg(index)
        return isinstance(value, Value) and value.needs_grad

    def d(self, index: int) -> Tensor | None:
        """The first tangent of tensor argument `index`, None for zero."""
        value = self.arg(index)
        return self._first.get(value) if value is not None else None

    def dd(self, index: int) -> Tensor | None:
        """The second tangent of tensor argument `index`, None for zero."""
        value = self.arg(index)
        return self._second.get(value) if value is not None else None

    def through(self, apply: Callable[[Tensor], Tensor], index: int = 0) -> Jet:
        """The jets of a linear map of tensor argument `index`: both tangents go through it, and zero stays zero."""
        dx, ddx = self.d(index), self.dd(index)
        return None if dx is None else apply(dx), None if ddx is None else apply(ddx)

    def first(self, value: Value) -> Tensor | None:
        """The first tangent of a value inside a list argument."""
        return self._first.get(value)

    def second(self, value: Value) -> Tensor | None:
        """The second tangent of a value inside a list argument."""
        return self._second.get(value)


@final
class AxisSite(Arguments):
    """One operation together with the annotations of its inputs: what an axis rule sees.

    A rule vouches for what it looked at: samples in an argument that it did not ask for leave its answer unproved.
    """

    __slots__ = ("_known", "asked", "batch", "owners")

    def __init__(self, node: Node, known: dict[Value, Annotation], batch: int, owners: Owners | None = None) -> None:
        self.node = node
        self._known = known
        self.batch = batch
        self.owners = owners  # of the rows, where a user named them
        self.asked: set[Value | None] = set()

    def of(self, value: Value | None) -> Annotation:
        """The annotation of a value; an absent one is shared."""
        self.asked.add(value)
        return self._known.get(value, Marker.SHARED)  # type: ignore[arg-type]

    def at(self, index: int) -> Annotation:
        """The annotation of tensor argument `index`."""
        args = self.node.args
        return self.of(args[index]) if index < len(args) else Marker.SHARED

    def shared(self, *positions: int) -> bool:
        """Whether these tensor arguments are there without samples, or not at all."""
        return all([self.at(i) is Marker.SHARED for i in positions])

    def unread(self, *positions: int) -> None:
        """Say that no number of these arguments is in any output: they are overwritten, or give a shape."""
        self.asked.update([self.arg(i) for i in positions])

    def shape(self, index: int = 0) -> tuple[int, ...]:
        """The shape of tensor argument `index`."""
        return self.node.args[index].shape

    def out_shape(self, index: int = 0) -> tuple[int, ...]:
        """The shape of output `index`."""
        value = self.node.outputs[index]
        return () if value is None else value.shape
