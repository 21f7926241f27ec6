"""Every axis rule beside the operation itself: samples in any argument, along any axis, among sizes that coincide.

One sample's elements are changed and the operation is run again. Where the rule names an axis, the elements of the
other samples stay as they are; what it calls shared does not change at all; and of a sum over the samples what two of
them change adds up.
"""

from __future__ import annotations

import itertools
import random
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from curvestep.engine.data.samples import Annotation, Marker, SampleAxis
from curvestep.engine.data.value import Node, Value
from curvestep.engine.passes.annotation import vouched
from curvestep.engine.rules import lookup
from curvestep.engine.rules.site import AxisSite
from curvestep.testing import Constant
from tests.engine.ops import ROWS
from tests.engine.ops.row import Draw, Row

MOST = (
    10  # placements of the samples that are tried of one call: all of most, a random part of those with many arguments
)
ALIKE = 4  # the size of every axis, where the operation runs with equal ones


@dataclass(frozen=True)
class Call:
    """One operation as a row's function ran it."""

    op: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def run(self, swapped: dict[int, Tensor]) -> list[Any]:
        """The outputs with some tensors, numbered in order, replaced by others."""
        count = itertools.count()
        draw = torch.random.get_rng_state()

        def put(item: Any) -> Any:
            if not isinstance(item, Tensor):
                return item
            here = next(count)
            return swapped.get(here, item).clone()

        args, kwargs = tree_map(put, (self.args, self.kwargs))
        try:
            torch.manual_seed(0)
            out = self.op(*args, **kwargs)
        finally:
            torch.random.set_rng_state(draw)
        return list(out) if isinstance(out, (tuple, list)) else [out]

    def tensors(self) -> list[Tensor]:
        """The tensors among the arguments, in order."""
        return [t for t in tree_flatten((self.args, self.kwargs))[0] if isinstance(t, Tensor)]

    def node(self, outputs: Sequence[Any]) -> tuple[Node, list[Value]]:
        """The operation as a tape has it, and the values of its tensors."""
        values: list[Value] = []

        def put(item: Any) -> Any:
            if not isinstance(item, Tensor):
                return item
            value = Value(tuple(item.shape), item.dtype, None, 0)
            value.data = item
            value.needs_grad = item.is_floating_point()
            values.append(value)
            return value

        args, kwargs = tree_map(put, (self.args, self.kwargs))
        made = [
            Value(tuple(o.shape), o.dtype, None, i) if isinstance(o, Tensor) else None for i, o in enumerate(outputs)
        ]
        node = Node(self.op, lookup(self.op), args, kwargs, tuple(values), tuple(made), True, False)
        return node, values


class Listener(TorchDispatchMode):
    """Notes the calls of one operation."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name, self.calls = name, []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if str(func) == self.name:
            copy = tree_map(lambda t: t.detach().clone() if isinstance(t, Tensor) else t, (args, kwargs or {}))
            self.calls.append(Call(func, *copy))
        return func(*args, **(kwargs or {}))


def calls(row: Row) -> list[Call]:
    """The row's operation as its function calls it."""
    listener = Listener(row.op)
    inputs = [
        t.clone().requires_grad_() * 1.0 if isinstance(t, Tensor) and t.is_floating_point() else t for t in row.drawn()
    ]
    with listener:
        row.function(*[t.tensor if isinstance(t, Constant) else t for t in inputs])
    return listener.calls[:2]


def alike(row: Row) -> Row | None:
    """The row with every size the same, None where it runs with its own alone."""
    inputs = [_alike(t) if isinstance(t, Draw) else t for t in row.inputs]
    changed = replace(row, inputs=inputs)
    if any(isinstance(t, Draw) and t.shape for t in inputs):
        try:
            return changed if calls(changed) else None
        except (RuntimeError, IndexError, ValueError, TypeError, AssertionError):
            return None
    return None


def _alike(draw: Draw) -> Draw:
    """Other shape, and indices within it."""

    def make(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        found = draw.make(shape, generator)
        return found % ALIKE if found.dtype == torch.int64 else found

    return replace(draw, shape=(ALIKE,) * len(draw.shape), make=make)


def placements(tensors: Sequence[Tensor], rng: random.Random) -> list[tuple[int, list[Annotation]]]:
    """Numbers of samples, and where these may lie in each of the tensors."""
    sizes = sorted({n for t in tensors for n in t.shape if n > 1})
    batches = sorted({b for n in sizes for b in (n, *[n // k for k in (2, 3) if n % k == 0 and n // k > 1])})
    found = []
    for batch in batches:
        choices: list[list[Annotation]] = [[Marker.SHARED, *_axes(t.shape, batch)] for t in tensors]
        for placed in itertools.product(*choices):
            if any(isinstance(a, SampleAxis) for a in placed):
                found.append((batch, list(placed)))
    return found if len(found) <= MOST else rng.sample(found, MOST)


def _axes(shape: Sequence[int], batch: int) -> Iterator[SampleAxis]:
    for dim, size in enumerate(shape):
        if size and size % batch == 0:
            for outer in {1, size // batch}:
                yield SampleAxis(dim, outer, size // batch // outer)


def owners(axis: SampleAxis, shape: Sequence[int], batch: int) -> Tensor:
    """The sample of each element."""
    along = torch.arange(shape[axis.dim]) // axis.inner % batch
    return along.reshape([-1 if d == axis.dim else 1 for d in range(len(shape))]).expand(tuple(shape))


def changed(tensor: Tensor, other: Tensor, axis: Annotation, sample: int, batch: int) -> Tensor:
    """The tensor with the elements of one sample taken from another one."""
    if not isinstance(axis, SampleAxis):
        return tensor
    return torch.where(owners(axis, tensor.shape, batch) == sample, other, tensor)


def differs(a: Tensor, b: Tensor) -> Tensor:
    """Where two results differ by more than sums in another order do."""
    if not a.is_floating_point() and not a.is_complex():
        return a != b
    apart = (a - b).abs() > 1e-9 * (1 + a.abs().nan_to_num().clamp(max=1e6))
    return apart & ~(a.isnan() & b.isnan())


def faults(call: Call, other: Call, rng: random.Random) -> Iterator[str]:
    """What a rule says that the operation does not do."""
    tensors, others = call.tensors(), other.tensors()
    base = call.run({})
    if any(isinstance(b, Tensor) and not torch.equal(a, b) for a, b in zip(call.run({}), base, strict=True)):
        return  # memory that was never written to
    if torch.Tag.nondeterministic_seeded in call.op.tags:
        return  # which numbers an element draws depends on those before it
    node, values = call.node(base)
    reduces = None if node.rule is None else node.rule.reduces
    if reduces is not None and reduces.weights is not None:  # a mean by weights of the labels, which count as given
        others = [o if o.is_floating_point() else t for t, o in zip(tensors, others, strict=True)]
    for batch, placed in placements(tensors, rng):
        axes = {v: a for v, a in zip(values, placed, strict=True) if a is not Marker.SHARED}
        answers = vouched(node, axes, batch)
        couples = None if node.rule is None else node.rule.couples
        if couples is not None and couples(AxisSite(node, axes, batch)):
            continue
        if all(a in (Marker.LOST, Marker.POOLED) for a in answers):
            continue
        try:
            runs = [
                call.run(
                    {
                        i: changed(t, o, a, s, batch)
                        for i, (t, o, a) in enumerate(zip(tensors, others, placed, strict=True))
                    }
                )
                for s in range(min(batch, 2))
            ]
            both = call.run(
                {
                    i: changed(changed(t, o, a, 0, batch), o, a, 1, batch)
                    for i, (t, o, a) in enumerate(zip(tensors, others, placed, strict=True))
                }
            )
        except (RuntimeError, IndexError, ValueError):
            continue  # a sample of one matrix and half of another: no input of this operation
        for k, answer in enumerate(answers):
            out = base[k]
            if not isinstance(out, Tensor) or node.outputs[k] is None:
                continue
            where = (
                f"{call.op} {[tuple(t.shape) for t in tensors]} of {batch} samples at {placed}: output {k}, {answer}"
            )
            if isinstance(answer, SampleAxis):
                fits = answer.dim < out.dim() and out.shape[answer.dim] == answer.outer * answer.inner * batch
                if not fits:
                    continue  # the analysis reads an axis that is not there as LOST
                owner = owners(answer, out.shape, batch)
                for s, run in enumerate(runs):
                    if run[k].shape == out.shape and bool((differs(out, run[k]) & (owner != s)).any()):
                        yield where
            elif answer is Marker.SHARED and any(
                run[k].shape != out.shape or bool(differs(out, run[k]).any()) for run in runs
            ):
                yield where
            elif answer is Marker.SUMMED and out.is_floating_point():
                rest = runs[0][k] + runs[1][k] - out
                if bool(differs(both[k], rest).any()):
                    yield where


@pytest.mark.filterwarnings("ignore:Using padding")
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_samples_are_where_the_rule_says(row: Row) -> None:
    rng = random.Random(zlib.crc32(row.name.encode()))
    again = replace(row, desc=f"{row.desc} again")  # the same with other numbers
    for given, others in ((row, again), (alike(row), alike(again))):
        if given is None or others is None:
            continue
        for call, other in zip(calls(given), calls(others), strict=True):
            assert next(faults(call, other, rng), None) is None
