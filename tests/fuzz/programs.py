"""A random program as data: leaves, steps, a loss, and how it is recorded; written as Python, run, and varied."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.fuzz.operations import BY_NAME
from tests.fuzz.operations.operation import Operation

#: How the gradient is asked for.
Backward = Literal["plain", "prebuilt", "grad", "retained"]
Kind = Literal["param", "data", "const", "index", "classes"]


@dataclass(frozen=True)
class Leaf:
    """A tensor that the program starts from.

    Attributes:
        kind: "param" requires a gradient; "data" and "classes" (whole numbers) belong to samples; "const" and "index"
            (whole numbers) to all of them.
        axis: along which the samples of "data" and "classes" lie.
        high: whole numbers are below it.
    """

    name: str
    kind: Kind
    shape: tuple[int, ...]
    seed: int
    axis: int | None = None
    high: int = 0

    def make(self, seed: int | None = None) -> Tensor:
        """The tensor itself; another seed gives other numbers."""
        seed = self.seed if seed is None else seed
        if self.high:
            return integers(seed, self.high, *self.shape)
        return normal(seed, *self.shape).requires_grad_(self.kind == "param")

    def text(self) -> str:
        """The line that makes it in a stand-alone program."""
        numbers = ", ".join(map(str, self.shape))
        call = f"integers({self.seed}, {self.high}, {numbers})" if self.high else f"normal({self.seed}, {numbers})"
        return f"{self.name} = {call}" + (".requires_grad_()" if self.kind == "param" else "")


@dataclass(frozen=True)
class Step:
    """One operation: `out` is made of the value `a` and of the fields, whose texts may name other values."""

    operation: str
    out: str
    a: str
    fields: dict[str, object] = field(default_factory=dict)

    def text(self) -> str:
        """Its statements."""
        return operation(self.operation).write(self.out, self.a, self.fields)


@dataclass(frozen=True)
class Mode:
    """How the program is recorded and measured."""

    stated: bool = True
    memory: str | float = "keep"
    products: str = "auto"
    form: str = "auto"
    samples: float | None = None
    backward: Backward = "plain"
    hook: bool = False


@dataclass(frozen=True)
class Program:
    """Leaves, steps in order, and a loss that is the mean or the sum of its terms, plus a penalty on one parameter."""

    batch: int
    leaves: tuple[Leaf, ...]
    steps: tuple[Step, ...]
    loss: Step
    reduction: Literal["mean", "sum"] = "mean"
    penalty: str | None = None
    mode: Mode = field(default_factory=Mode)

    @property
    def params(self) -> list[Leaf]:
        """The leaves that move."""
        return [leaf for leaf in self.leaves if leaf.kind == "param"]

    @property
    def kinked(self) -> bool:
        """Whether a central difference may straddle a kink, or move what the derivative holds still."""
        kinked = any(operation(step.operation).kinked for step in (*self.steps, self.loss))
        return kinked or ".detach()" in self.function()

    def body(self) -> str:
        """The statements up to the loss, `each` being its terms before the reduction."""
        each = replace(self.loss, out="each", fields={**self.loss.fields, "r": "none", "reduce": ""})
        r = self.reduction
        loss = replace(self.loss, out="loss", fields={**self.loss.fields, "r": r, "reduce": f".{r}()"})
        lines = [step.text() for step in self.steps]
        if self.mode.hook and self.steps:
            lines.append(f"{self.steps[0].out}.register_hook(lambda g: None) if torch.is_grad_enabled() else None")
        penalty = [] if self.penalty is None else [f"loss = loss + 0.1 * ({self.penalty} ** 4).sum()"]
        return "\n".join([*lines, "if terms:", f"    {_indented(each.text())}", loss.text(), *penalty])

    def function(self) -> str:
        """`run(terms)` returns the loss and, where asked for, its terms."""
        return f"def run(terms=False):\n    each = None\n    {_indented(self.body())}\n    return loss, each\n"

    def names(self) -> set[str]:
        """Every leaf that some statement reads."""
        return set(re.findall(r"\b[a-z]\d+\b", self.function()))

    def used(self) -> Program:
        """Without the leaves that nothing reads."""
        names = self.names()
        return replace(self, leaves=tuple(leaf for leaf in self.leaves if leaf.name in names))

    def without(self, step: Step, value: str) -> Program:
        """The same with `value` in the place of what `step` made."""

        def renamed(text: object) -> object:
            return re.sub(rf"\b{step.out}\b", value, text) if isinstance(text, str) else text

        def changed(other: Step) -> Step:
            fields = {k: renamed(v) for k, v in other.fields.items()}
            return replace(other, a=str(renamed(other.a)), fields=fields)

        steps = tuple(changed(other) for other in self.steps if other is not step)
        return replace(self, steps=steps, loss=changed(self.loss)).used()

    def bind(self, tensors: dict[str, Tensor]) -> Callable[..., tuple[Tensor, Tensor | None]]:
        """`run` over given leaves."""
        names: dict[str, Any] = {"torch": torch, "F": F, **tensors}
        exec(compile(self.function(), "program", "exec"), names)
        return names["run"]

    def tensors(self) -> dict[str, Tensor]:
        """The leaves by name."""
        return {leaf.name: leaf.make() for leaf in self.leaves}

    def text(self) -> str:
        """A program that stands alone and prints the engine's total and rows beside those of double backward."""
        m = self.mode
        size = f"{self.batch}, " if m.stated else ""
        record = f"curvestep.record({size}memory={m.memory!r}, products={m.products!r})"
        backward = {
            "plain": "loss.backward()",
            "prebuilt": "loss.backward(one)",
            "grad": "torch.autograd.grad(loss, params, allow_unused=True)",
            "retained": "loss.backward(retain_graph=True)",
        }[m.backward]
        part = "" if m.samples is None else f", samples={m.samples}"
        names = ", ".join(leaf.name for leaf in self.params)
        return "\n".join(
            [
                _PREAMBLE,
                *(leaf.text() for leaf in self.leaves),
                f"params = [{names}]",
                "d = [0.3 * normal(1000 + i, *p.shape) for i, p in enumerate(params)]",
                self.function(),
                "one = torch.ones(())",
                f"with {record} as tape:",
                "    loss = run()[0]",
                f"    {backward}",
                f"print(tape.curvature(params, d, form={m.form!r}{part}))",
                "g = torch.autograd.grad(run()[0], params, create_graph=True, allow_unused=True)",
                "slope = sum((a * b).sum() for a, b in zip(g, d) if a is not None)",
                "h = torch.autograd.grad(slope, params, allow_unused=True)",
                'print("truth", slope, sum((a * b).sum() for a, b in zip(h, d) if a is not None))',
            ]
        )


def normal(seed: int, *shape: int) -> Tensor:
    """Normal numbers of their own seed, so that taking one leaf away leaves the others as they are."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def integers(seed: int, high: int, *shape: int) -> Tensor:
    """Whole numbers below `high`."""
    return torch.randint(high, shape, generator=torch.Generator().manual_seed(seed))


_PREAMBLE = """import torch, curvestep
from torch.nn import functional as F
torch.set_default_dtype(torch.float64)
def normal(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
def integers(seed, high, *shape):
    return torch.randint(high, shape, generator=torch.Generator().manual_seed(seed))"""

_PLANTED: dict[str, Operation] = {}


def plant(row: Operation) -> None:
    """Add a row that tests of the fuzzer use, whose rule is wrong on purpose."""
    _PLANTED[row.name] = row


def operation(name: str) -> Operation:
    """The row of a name."""
    return _SPECIAL.get(name) or _PLANTED.get(name) or BY_NAME[name]


# Steps that put samples where the next operation wants them; they are no rows of their own in the table.
_SPECIAL = {
    row.name: row
    for row in (
        Operation("meets a parameter", "torch.tanh({a} * {w})"),
        Operation("linear layer", "F.linear({a}, {w}).sin()"),
        Operation("start from a parameter", "torch.tanh({a} + 0.1)"),
        Operation("samples first", "{a}.movedim({d}, 0).reshape({a}.shape[{d}], -1)"),
        Operation("folded", "{a}.movedim({d}, 0).flatten(0, 1)"),
        Operation("last step", "{a} + 0.3 * torch.sin({a})"),
    )
}


def _indented(text: str) -> str:
    return text.replace("\n", "\n    ")
