"""Random programs: chains of operations from the table, samples on any axis, in any argument, recorded in any mode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.fuzz.operations import LOSSES, TABLE
from tests.fuzz.operations.operation import Fields, Operation
from tests.fuzz.programs import Backward, Kind, Leaf, Mode, Program, Step, operation
from tests.fuzz.trace import MIXED, SHARED, UNKNOWN, Samples, Where, where, with_sample_changed

LARGEST_VALUE = 30.0  # beyond it exponentials and powers leave the range in which differences have digits
LARGEST_SIZE = 400
TRIES = 30


class Builder:
    """A program under construction, with every value as it is and as it is with each sample changed."""

    def __init__(self, rng: Random, batch: int, stated: bool, mixes: bool) -> None:
        self.rng = rng
        self.batch = batch
        self.stated = stated
        self.mixes = mixes
        self.leaves: list[Leaf] = []
        self.steps: list[Step] = []
        self.worlds: list[dict[str, Tensor]] = [{} for _ in range(batch + 1)]  # the first is the program's own
        self.places: dict[str, Where] = {}

    # -- the supply of arguments, as `operations.operation.Site` describes it -----------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the value that flows on."""
        return tuple(self.worlds[0][self.a].shape)

    def start(self, a: str) -> None:
        """Let `a` be the value that flows on."""
        self.a = a
        self.kept = len(self.leaves)

    def dim(self) -> int:
        """An axis, seldom that of the samples."""
        place = self.places.get(self.a)
        others = [d for d in range(len(self.shape)) if not (isinstance(place, Samples) and place.dim == d)]
        return self.rng.choice(others) if others and self.rng.random() < 0.85 else self.rng.randrange(len(self.shape))

    def param(self, *shape: int) -> str:
        """A new parameter."""
        return self.leaf("p", "param", shape)

    def const(self, *shape: int) -> str:
        """New numbers that belong to no sample."""
        return self.leaf("c", "const", shape)

    def data(self, shape: Sequence[int], axis: int) -> str:
        """New numbers of the samples."""
        return self.leaf("x", "data", shape, axis)

    def index(self, high: int, *shape: int) -> str:
        """Whole numbers, of the samples where an axis for them is there."""
        axis = self.sample_axis(shape)
        if axis is None or self.rng.random() < 0.3:
            return self.leaf("i", "index", shape, high=high)
        return self.leaf("i", "classes", shape, axis, high)

    def operand(self, *shape: int) -> str:
        """A value of this shape: an earlier one, a parameter, samples or a constant."""
        earlier = [n for n, t in self.worlds[0].items() if tuple(t.shape) == shape and t.is_floating_point()]
        axis = self.sample_axis(shape)
        draw = self.rng.random()
        if earlier and draw < 0.35:
            return self.rng.choice(earlier)
        if axis is not None and draw < 0.6:
            return self.data(shape, axis)
        return self.const(*shape) if draw > 0.93 else self.param(*shape)

    def cast(self) -> str:
        """A value that broadcasts with the one that flows on."""
        shape = list(self.shape)
        if self.rng.random() < 0.4:
            shape = [n if self.rng.random() < 0.6 else 1 for n in shape]
            shape = shape[self.rng.randint(0, len(shape)) :]
        return self.operand(*shape)

    def sample_axis(self, shape: Sequence[int]) -> int | None:
        """Where samples lie in new data: on the first axis of the stated size, or on the first of all."""
        if not self.stated:
            return 0 if shape and shape[0] == self.batch else None
        return list(shape).index(self.batch) if self.batch in shape else None

    def leaf(self, letter: str, kind: Kind, shape: Sequence[int], axis: int | None = None, high: int = 0) -> str:
        """Add a leaf to every world."""
        k = len(self.leaves)
        leaf = Leaf(f"{letter}{k}", kind, tuple(shape), self.rng.randrange(10**6), axis, high)
        self.leaves.append(leaf)
        self.worlds[0][leaf.name] = leaf.make()
        for s, world in enumerate(self.worlds[1:]):
            world[leaf.name] = with_sample_changed(leaf, s)
        return leaf.name

    # -- steps -----------------------------------------------------------------------------------------------------

    def add(self, row: Operation, a: str, fields: Fields | None = None) -> str | None:
        """Try to add an operation on `a`: the name of its value, or None where it cannot stand here."""
        self.start(a)
        drawn = row.draw(self) if fields is None else fields
        out = f"h{len(self.steps)}"
        step = Step(row.name, out, a, drawn or {})
        if drawn is None or not self._runs(step.text(), out):
            self._forget(out)
            return None
        self.steps.append(step)
        return out

    def _runs(self, text: str, out: str) -> bool:
        """Whether the statements give a finite real value of a usable size, and samples are where they may be."""
        try:
            for k, world in enumerate(self.worlds):
                names: dict[str, Any] = {"torch": torch, "F": F, **world}
                with torch.set_grad_enabled(k == 0):
                    exec(text, names)
                world[out] = names[out]
        except (RuntimeError, IndexError, ValueError, TypeError, AttributeError, NotImplementedError):
            return False
        values = [world[out] for world in self.worlds]
        base = values[0]
        if base.dtype != torch.float64 or not base.requires_grad or not 0 < base.numel() <= LARGEST_SIZE:
            return False
        if any(v.shape != base.shape or not bool((v.abs() <= LARGEST_VALUE).all()) for v in values):
            return False
        place = where(base, values[1:], self.batch) if self.batch > 1 else SHARED
        self.places[out] = place
        return place not in (MIXED, UNKNOWN) or self.mixes

    def _forget(self, out: str) -> None:
        """Drop a value and the leaves that were made for it."""
        for leaf in self.leaves[self.kept :]:
            for world in self.worlds:
                world.pop(leaf.name, None)
        del self.leaves[self.kept :]
        for world in self.worlds:
            world.pop(out, None)
        self.places.pop(out, None)


def first_value(b: Builder, *, rank: int | None = None, axis: int | None = None, late: bool = False) -> str:
    """Data that met a parameter, with the samples on any axis; `late`: a parameter alone, for samples to come later."""
    rank = b.rng.choice([1, 2, 2, 3, 3, 4]) if rank is None else rank
    axis = (b.rng.randrange(rank) if b.stated else 0) if axis is None else axis
    # Sizes that coincide with the batch are wanted behind the samples' axis; before it they would be taken for it.
    usual = [2, 3, 4, 5] if rank < 4 else [2, 3]
    sizes = [b.rng.choice([*usual, b.batch] if d > axis else usual) for d in range(rank)]
    shape = [b.batch if d == axis else n + (n == b.batch and d < axis) for d, n in enumerate(sizes)]
    if late:
        a, row = b.param(*shape), operation("start from a parameter")
        fields: Fields = {}
    else:
        a = b.data(shape, axis)
        linear = axis != rank - 1 and b.rng.random() < 0.5
        width = b.rng.choice([2, 3, 4, b.batch])
        w = b.param(width, shape[-1]) if linear else b.param(*shape[axis + 1 :])
        row = operation("linear layer" if linear else "meets a parameter")
        fields = {"w": w}
    b.start(a)
    out = b.add(row, a, fields)
    assert out is not None, "a first value of usable size always runs"
    return out


def random_mode(rng: Random, stated: bool, batch: int) -> Mode:
    """How to record and measure: plain in half of the dimensions."""

    def usually(plain: Any, *others: Any) -> Any:
        return plain if rng.random() < 0.5 else rng.choice(others)

    ways: list[Backward] = ["plain", "retained", "prebuilt", "grad"]
    return Mode(
        stated,
        usually("keep", "split", 0, 0.5),
        usually("auto", "naive", "polarised"),
        usually("auto", "tangent", "taylor"),
        usually(None, 2, 0.5) if batch > 2 else None,
        rng.choices(ways, [85, 10, 2, 3])[0],
        rng.random() < 0.15,
    )


def finish(b: Builder, a: str, plain: bool = False) -> Program | None:
    """End the program in a loss of `a`."""
    place = b.places.get(a)
    if isinstance(place, Samples) and len(b.shape) > 1 and b.rng.random() < 0.4 and not plain:
        a = b.add(operation("samples first"), a, {"d": place.dim}) or a
    for _ in range(TRIES):
        row = b.rng.choice([r for r in LOSSES if r.name == "mean squares"] if plain else LOSSES)
        b.start(a)
        fields = row.draw(b)
        if fields is None:
            b._forget("")
            continue
        reduction: Literal["mean", "sum"] = "mean" if b.rng.random() < 0.7 else "sum"
        params = [leaf.name for leaf in b.leaves if leaf.kind == "param"]
        penalty = b.rng.choice(params) if b.rng.random() < 0.1 and not plain else None
        program = Program(
            b.batch, tuple(b.leaves), tuple(b.steps), Step(row.name, "loss", a, fields), reduction, penalty
        )
        if _sound(program):
            return program.used()
        b._forget("")
    return None


def _sound(program: Program) -> bool:
    """Whether the loss is a finite number made of terms, and has a gradient."""
    tensors = program.tensors()
    try:
        loss, each = program.bind(tensors)(True)
        torch.autograd.grad(loss, [tensors[leaf.name] for leaf in program.params], allow_unused=True)
    except (RuntimeError, IndexError, ValueError, TypeError):
        return False
    return each is not None and loss.ndim == 0 and each.ndim > 0 and bool(loss.isfinite()) and loss.abs().item() < 1e3


def random_program(seed: int, table: Sequence[Operation] = TABLE) -> Program:
    """The program of a seed: a chain of one to eight operations."""
    rng = Random(seed)
    while True:
        batch = rng.choice([1, 2, 3, 3, 4, 4])
        stated = rng.random() < 0.7
        b = Builder(rng, batch, stated, mixes=rng.random() < 0.15)
        a = first_value(b, late=rng.random() < 0.1)
        for _ in range(rng.randint(1, 8)):
            source = a if rng.random() < 0.8 else rng.choice([step.out for step in b.steps])
            for _ in range(TRIES):
                out = b.add(rng.choice(table), source)
                if out is not None:
                    a = out
                    break
        program = finish(b, a)
        if program is not None and program.params:
            return replace(program, mode=random_mode(rng, stated, batch))


def layout_program(seed: int, table: Sequence[Operation] = TABLE) -> Program | None:
    """One operation of the table alone: the seed counts through the rows, ranks, axes, and where the samples come in.

    The operation's value is squared and averaged. None where the operation cannot stand at that place.
    """
    row = table[seed % len(table)]
    rng = Random(seed)
    turn = seed // len(table)
    rank = 1 + turn % 4
    axis = (turn // 4) % rank
    late = (turn // 16) % 4 == 3
    b = Builder(rng, rng.choice([2, 3, 4]), stated=True, mixes=rng.random() < 0.3)
    a = first_value(b, rank=rank, axis=axis, late=late)
    for _ in range(TRIES):
        out = b.add(row, a)
        if out is not None and b.places[out] != SHARED:
            program = finish(b, out, plain=True)
            return None if program is None else replace(program, mode=random_mode(rng, True, b.batch))
        if out is not None:
            b.steps.pop()
            b._forget(out)
    return None
