"""One row of the database of operations, and the random inputs that rows are made of."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from curvestep.testing import Constant


@dataclass(frozen=True)
class Draw:
    """A tensor to be drawn when the test runs, so that a new row changes no other row's numbers."""

    shape: tuple[int, ...]
    make: Callable[[tuple[int, ...], torch.Generator], Tensor]
    moves: bool = True


def normal(*shape: int) -> Draw:
    return Draw(shape, lambda s, g: torch.randn(s, generator=g, dtype=torch.float64))


def between(low: float, high: float) -> Callable[..., Draw]:
    """Uniform numbers of an interval."""

    def draw(*shape: int) -> Draw:
        return Draw(shape, lambda s, g: low + (high - low) * torch.rand(s, generator=g, dtype=torch.float64))

    return draw


positive = between(0.7, 2.0)
unit = between(0.2, 0.8)


def apart(*shape: int) -> Draw:
    """Distinct numbers, none within 0.1 of another or of zero: steps of central differences meet no kink."""

    def make(s: tuple[int, ...], g: torch.Generator) -> Tensor:
        count = int(torch.Size(s).numel())
        steps = torch.arange(count, dtype=torch.float64) - count // 2 + 0.5
        return (0.2 * steps[torch.randperm(count, generator=g)]).reshape(s)

    return Draw(shape, make)


def integers(high: int) -> Callable[..., Draw]:
    def draw(*shape: int) -> Draw:
        return Draw(shape, lambda s, g: torch.randint(high, s, generator=g), moves=False)

    return draw


def coin(*shape: int) -> Draw:
    """Booleans, true for seven in ten."""
    return Draw(shape, lambda s, g: torch.rand(s, generator=g) < 0.7, moves=False)


def fixed(draw: Draw) -> Draw:
    """The same numbers, as an input that does not move."""
    return Draw(draw.shape, draw.make, moves=False)


@dataclass(frozen=True)
class Row:
    """One way to run one operation.

    Attributes:
        op: the operation that the function must record, as `aten.tanh.default`.
        function: takes the drawn inputs.
        inputs: `Draw`s, tensors, or anything else, which is passed on.
        desc: what is special about the row, for the name of the test.
        sampled, explicit, terms, smooth, exact: as in `check_rule`.
    """

    op: str
    function: Callable[..., Any]
    inputs: Sequence[Any]
    desc: str = ""
    sampled: tuple[int, ...] = (0,)
    explicit: Callable[..., Any] | None = None
    terms: Callable[..., Tensor] | None = None
    smooth: bool = True
    exact: bool | None = True

    @property
    def name(self) -> str:
        return f"{self.op} {self.desc}".strip()

    def drawn(self) -> list[Any]:
        """The inputs, the same at every call."""
        generator = torch.Generator().manual_seed(zlib.crc32(self.name.encode()))
        out: list[Any] = []
        for given in self.inputs:
            if not isinstance(given, Draw):
                out.append(given)
                continue
            tensor = given.make(given.shape, generator)
            out.append(Constant(tensor) if tensor.is_floating_point() and not given.moves else tensor)
        return out
