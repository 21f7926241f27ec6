"""A rule called on a node made by hand: for operations that no eager CPU call dispatches, and for whole jets.

Most composite operations reach a dispatch mode in pieces, yet exported graphs and other devices hand them out whole.
Truth is the double backward of an explicit formula along x(t) = x + t ẋ + ½ t² ẍ, every output element at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import torch
from torch import Tensor

from curvestep.engine.data.value import Node, Value
from curvestep.engine.passes.jets import jets_of
from curvestep.engine.rules.site import Site, Spread
from curvestep.engine.rules.table import RULES
from tests.engine.ops.row import Draw


@dataclass(frozen=True)
class Direct:
    """One way to run a rule by hand: `function` takes the same arguments and returns the first output."""

    op: Any
    function: Callable[..., Tensor]
    args: Sequence[Any]
    desc: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    saved: Callable[..., list[Tensor]] | None = None  # the outputs after the first, where a rule reads them

    @property
    def name(self) -> str:
        return f"{self.op} {self.desc}".strip()


def _value(tensor: Tensor, moves: bool) -> Value:
    value = Value(tuple(tensor.shape), tensor.dtype, None, 0)
    value.data, value.version, value.needs_grad = tensor, tensor._version, moves
    return value


def _map(arg: Any, act: Callable[[Tensor], Any]) -> Any:
    if isinstance(arg, Tensor):
        return act(arg)
    return [_map(a, act) for a in arg] if isinstance(arg, list) else arg


def worst_jet_error(row: Direct) -> float:
    """The largest relative error of ẏ and ÿ over every choice of which moving arguments have ẋ, and ẍ."""
    generator = torch.Generator().manual_seed(11)

    def resolve(arg: Any) -> Any:
        if isinstance(arg, Draw):
            tensor = arg.make(arg.shape, generator)
            return tensor.requires_grad_(arg.moves and tensor.is_floating_point())
        return [resolve(a) for a in arg] if isinstance(arg, list) else arg

    args = [resolve(a) for a in row.args]
    moving: list[Tensor] = []
    _map(args, lambda t: moving.append(t) if t.requires_grad else None)
    directions = [torch.randn(t.shape, generator=generator, dtype=t.dtype) for t in moving]
    bends = [torch.randn(t.shape, generator=generator, dtype=t.dtype) for t in moving]
    worst = 0.0
    for pattern in product([(True, False), (False, True), (True, True), (False, False)], repeat=len(moving)):
        if any(a or b for a, b in pattern):
            first = [d if on else None for d, (on, _) in zip(directions, pattern, strict=True)]
            second = [b if on else None for b, (_, on) in zip(bends, pattern, strict=True)]
            worst = max(worst, _error(row, args, moving, first, second))
    return worst


def _error(
    row: Direct, args: list[Any], moving: list[Tensor], first: list[Tensor | None], second: list[Tensor | None]
) -> float:
    with torch.no_grad():
        y = row.function(*args)
        saved = [] if row.saved is None else row.saved(*args)
    held: dict[int, Value] = {}

    def put(tensor: Tensor) -> Value:
        return held.setdefault(id(tensor), _value(tensor.detach(), tensor.requires_grad))

    arguments = tuple(_map(args, put))
    node = Node(row.op, RULES[row.op], arguments, row.options, tuple(held.values()), (), True, False)
    outputs = [_value(t, True) for t in (y, *saved)]
    node.outputs = tuple(outputs)
    dots = {held[id(t)]: d for t, d in zip(moving, first, strict=True) if d is not None}
    ddots = {held[id(t)]: b for t, b in zip(moving, second, strict=True) if b is not None}
    dy, ddy = jets_of(RULES[row.op], Site(node, dots, ddots))[0]
    if isinstance(ddy, Spread):
        ddy = ddy.terms.sum()
    # truth: u is a variable cotangent, so that derivatives by u of a scalar give whole tensors
    t = torch.zeros((), dtype=y.dtype, requires_grad=True)
    u = torch.zeros_like(y, requires_grad=True)
    along: dict[int, Tensor] = {}
    for x, d, b in zip(moving, first, second, strict=True):
        along[id(x)] = x.detach() + (0 if d is None else t * d) + (0 if b is None else 0.5 * t * t * b)
    out = row.function(*_map(args, lambda x: along.get(id(x), x)))
    slope = _grad((u * out).sum(), t)
    curve = _grad(slope, t)
    return max(_gap(dy, _grad(slope, u)), _gap(ddy, _grad(curve, u)))


def _grad(of: Tensor, by: Tensor) -> Tensor:
    if not of.requires_grad:
        return torch.zeros_like(by)
    found = torch.autograd.grad(of, by, create_graph=True, allow_unused=True)[0]
    return torch.zeros_like(by) if found is None else found


def _gap(found: Tensor | None, truth: Tensor) -> float:
    truth = truth.detach()
    found = torch.zeros_like(truth) if found is None else found.expand(truth.shape)
    # rounding of a zero is compared with one, the size of the inputs
    return float((found - truth).abs().max()) / max(float(truth.abs().max()), 1.0)
