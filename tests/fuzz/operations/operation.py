"""One row of the fuzzer's table: how an operation is written, where it is defined, and what else it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import Protocol


class Site(Protocol):
    """Where an operation is put: the value that it takes first, and a supply of further arguments."""

    rng: Random

    @property
    def shape(self) -> tuple[int, ...]: ...

    def dim(self) -> int: ...

    def operand(self, *shape: int) -> str: ...

    def cast(self) -> str: ...

    def param(self, *shape: int) -> str: ...

    def const(self, *shape: int) -> str: ...

    def index(self, high: int, *shape: int) -> str: ...


Fields = dict[str, object]
Draw = Callable[[Site], Fields | None]

#: What an argument is sent through where the operation is not defined, or not smooth, on all numbers.
DOMAINS = {
    "any": "{}",
    "positive": "(F.softplus({}) + 0.2)",
    "unit": "(0.9 * torch.sigmoid({}) + 0.05)",
    "inner": "(0.9 * torch.tanh({}))",
    "above one": "(F.softplus({}) + 1.1)",
    "small": "(0.5 * torch.tanh({}))",
}


@dataclass(frozen=True)
class Operation:
    """A row.

    Attributes:
        name: unique in the table.
        text: Python with {a} for the value that flows on and the fields of `draw`; an expression, or statements that
            assign {out}.
        draw: further fields, or None where the operation cannot stand here.
        domain: a key of `DOMAINS`, applied to {a}.
        kinked: whether its second derivative jumps somewhere, so that a central difference may straddle the jump.
    """

    name: str
    text: str
    draw: Draw = lambda site: {}
    domain: str = "any"
    kinked: bool = False

    def write(self, out: str, a: str, fields: Fields) -> str:
        """The statements that assign the result to `out`."""
        texts = {k: str(v) for k, v in fields.items()}
        a = DOMAINS[self.domain].format(a)
        if "{out}" in self.text:
            return self.text.format(out=out, a=a, **texts)
        return f"{out} = {self.text.format(a=a, **texts)}"


def rows(lines: str, draw: Draw = lambda site: {}, domain: str = "any", kinked: bool = False) -> list[Operation]:
    """One row a line, `name: text`."""
    pairs = (line.split(": ", 1) for line in lines.strip().splitlines())
    return [Operation(name.strip(), text.strip(), draw, domain, kinked) for name, text in pairs]


def chosen(**choices: Iterable[object]) -> Draw:
    """Each field drawn from its choices."""
    return lambda site: {name: site.rng.choice(list(options)) for name, options in choices.items()}
