"""The dtypes in which a pass works: those of the recording, or others for its tangents and products.

"recorded" leaves every tangent in the dtype of its tensor. Otherwise a pass *reads* recorded tensors and tangents that
arrive at an operation in one dtype, and *carries* what leaves it in another, which need not be the same:

| precision | operation | reads and works in | carries |
|---|---|---|---|
| "float64" | any | float64 | the same |
| "float32", "tf32" | any | 16-bit as float32, others as they are | the same |
| "bfloat16" | a product of matrices, a convolution, attention | bfloat16 | bfloat16 |
| | one element by element, a view, a pool | bfloat16 where all that moves arrives so, else float32 | the same |
| | a normalisation | float32 | what arrives |
| | any other: sums, softmax, losses, special functions | float32 | float32 |

That is how autocast runs a forward pass; in difference to it a long sum always is one of float32.

A curvature is homogeneous of degree 2 in the direction. Numbers of float16 end at 6e-8 and at 65,504, so a pass that
has any measures along α d for a power of two α and divides by α². bfloat16 has the exponents of float32 and needs no
such thing; at lengths where float32 itself underflows, so does the result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor

from curvestep._shards import whole
from curvestep.engine.data.curvature import Curvature, Precision
from curvestep.engine.data.value import Node, Value
from curvestep.engine.passes.analysis import Plan

Dtypes = Mapping[torch.dtype, torch.dtype]  # of a recorded tensor or an arriving tangent → what stands for it


@final
@dataclass(frozen=True, slots=True)
class Working:
    """The dtypes of one operation.

    Attributes:
        reads: in which its rule reads what was recorded and what arrives.
        carries: in which its tangents leave.
    """

    reads: Dtypes
    carries: Dtypes


_WIDE: Dtypes = {
    torch.float16: torch.float32, torch.bfloat16: torch.float32, torch.complex32: torch.complex64,
}  # fmt: skip
_LONG: Dtypes = {
    **dict.fromkeys((torch.float16, torch.bfloat16, torch.float32), torch.float64),
    **dict.fromkeys((torch.complex32, torch.complex64), torch.complex128),
}  # fmt: skip
_SINGLE: Dtypes = {**_WIDE, torch.float64: torch.float32}
_NARROW: Dtypes = dict.fromkeys((torch.float16, torch.float32, torch.float64), torch.bfloat16)

_WIDENED = Working(_WIDE, _WIDE)
_IN_DOUBLE = Working(_LONG, _LONG)
_IN_SINGLE = Working(_SINGLE, _SINGLE)
_IN_BFLOAT16 = Working(_NARROW, _NARROW)
_SINGLE_INSIDE = Working(_SINGLE, _NARROW)


def working(precision: Precision, node: Node, first: Mapping[Value, Tensor], second: Mapping[Value, Tensor]) -> Working:
    """The dtypes of an operation, given the tangents so far; not for "recorded"."""
    if precision != "bfloat16":
        return _IN_DOUBLE if precision == "float64" else _WIDENED
    if _any_complex(node):
        return _IN_SINGLE
    dtype = "wide" if node.rule is None else node.rule.dtype
    if dtype == "product":
        return _IN_BFLOAT16
    if dtype == "arriving":
        return _IN_BFLOAT16 if _brain(node.inputs, first, second) else _IN_SINGLE
    if dtype == "statistics":  # its weight and bias move in float32
        return _SINGLE_INSIDE if _brain(node.inputs[:1], first, second) else _IN_SINGLE
    return _IN_SINGLE


def _brain(values: Sequence[Value], *tangents: Mapping[Value, Tensor]) -> bool:
    """Whether all of them that move do so in bfloat16."""
    return all(t.dtype is torch.bfloat16 for v in values for held in tangents if (t := held.get(v)) is not None)


def _any_complex(node: Node) -> bool:
    return any(v is not None and v.dtype.is_complex for v in (*node.inputs, *node.outputs))


def arriving(node: Node, tangents: Mapping[Value, Tensor], reads: Dtypes) -> dict[Value, Tensor]:
    """The tangents at the inputs of an operation, in the dtypes in which it works."""
    return {v: t.to(reads.get(t.dtype, t.dtype)) for v in node.inputs if (t := tangents.get(v)) is not None}


# -- TensorFloat-32 ---------------------------------------------------------------------------------------------------


@contextmanager
def tensorfloat32() -> Iterator[None]:
    """Have float32 products run in TensorFloat-32 on devices that do; put the settings back whatever happens.

    A setting that was never made hears those above it, and could not be unmade. So the outermost one is made first, and
    an inner one only where it still says something else: then it was made.
    """
    backends: Any = torch.backends
    places = (
        backends, backends.cudnn,
        backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn, backends.mkldnn.matmul, backends.mkldnn.conv,
    )  # fmt: skip
    changed: list[tuple[Any, str]] = []
    try:
        for place in places:
            before = place.fp32_precision
            if before != "tf32":
                changed.append((place, before))
                place.fp32_precision = "tf32"
        yield
    finally:
        for place, before in reversed(changed):
            place.fp32_precision = before


# -- directions for float16 -------------------------------------------------------------------------------------------

#: log₂ of the length below which the direction of a pass with float16 lies; it is at least half of it. Over four nets
#: and four kinds of direction errors rose at lengths of ⅛ and below, where V ẋ underflows; one pass overflowed at 2.
_LENGTH = 0


def has_float16(plan: Plan) -> bool:
    """Whether a tangent of the pass would be one of float16 as recorded."""
    return any(v is not None and v.dtype is torch.float16 for node in plan.steps for v in node.outputs)


def unit_seeds(seeds: Mapping[Value, Tensor]) -> tuple[dict[Value, Tensor], Tensor]:
    """The direction times a power of two α that makes its length ½ to 1, and α; nothing waits for a device."""
    place = next(iter(seeds.values())).device
    lengths = [whole(torch.linalg.vector_norm(d, dtype=torch.float32)).to(place) for d in seeds.values()]
    _, exponent = torch.frexp(torch.linalg.vector_norm(torch.stack(lengths)))
    one = torch.ones((), device=place)
    scale = torch.ldexp(one, _LENGTH - exponent)
    scale = torch.where(torch.isfinite(scale) & (scale > 0), scale, one)
    return {v: d * scale.to(d.device) for v, d in seeds.items()}, scale


def undone(found: Curvature, scale: Tensor, *, once: bool = False) -> Curvature:
    """The curvature along d from that along α d; `once`: what grows with α, not with its square."""

    def over(t: Tensor) -> Tensor:
        return t / scale.to(t.device)

    def over_twice(t: Tensor) -> Tensor:
        return over(t) if once else over(over(t))  # one after the other: α² may be more than float32 has

    return replace(
        found,
        total=over_twice(found.total),
        slope=over(found.slope),
        per_sample=None if found.per_sample is None else over_twice(found.per_sample),
    )


def seeded(
    precision: Precision, plan: Plan, seeds: Mapping[Value, Tensor]
) -> tuple[dict[Value, Tensor], Tensor | None]:
    """The tangents with which a pass begins and their scale; None where that is 1."""
    if precision != "recorded" or not seeds or not has_float16(plan):
        return dict(seeds), None
    return unit_seeds(seeds)
