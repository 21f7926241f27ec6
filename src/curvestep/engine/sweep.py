"""One sweep over the tape: tangents forward, second-order terms paired with cotangents as early as is exact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from curvestep._errors import DirectionError, MissingRuleError
from curvestep.engine.analysis import Plan, analyse
from curvestep.engine.curvature import Curvature
from curvestep.engine.rules.table import Kind, Site, Spread
from curvestep.engine.samples import SampleAxis, rows

if TYPE_CHECKING:
    from curvestep.engine.tape import Node, Tape, Value


def curvature_sweep(
    tape: Tape, params: Sequence[Tensor], direction: Sequence[Tensor], *, per_sample: bool
) -> Curvature:
    """Run the sweep; see `Tape.curvature`."""
    check_direction(params, direction)
    with torch.no_grad(), _disable_current_modes():
        seeds = _seeds(tape, params, direction)
        root = tape.root
        plan = analyse(tape, root, seeds)
        ledger = _Ledger(plan, split=per_sample and plan.separable)
        first: dict[Value, Tensor] = dict(seeds)
        second: dict[Value, Tensor] = {}
        for index, node in enumerate(plan.steps):
            _advance(node, first, second, ledger, root, seeds)
            for value in node.inputs:
                if plan.last_use[value] == index:
                    first.pop(value, None)
                    second.pop(value, None)
        return ledger.close(tape, root, first, second, per_sample=per_sample)


def check_direction(params: Sequence[Tensor], direction: Sequence[Tensor]) -> None:
    """Refuse a direction that does not match the parameters."""
    if len(params) != len(direction):
        raise DirectionError(
            f"One direction tensor for each parameter was needed, but {len(params)} parameters and {len(direction)} "
            "direction tensors were given. Pass two lists of equal length."
        )
    for i, (p, d) in enumerate(zip(params, direction, strict=True)):
        if p.shape != d.shape or p.dtype != d.dtype or p.device != d.device:
            raise DirectionError(
                f"A direction of shape {tuple(p.shape)}, {p.dtype} on {p.device} was needed for parameter {i}, but "
                f"shape {tuple(d.shape)}, {d.dtype} on {d.device} was given. Match the parameter, as its gradient does."
            )
        if not p.requires_grad:
            raise DirectionError(
                f"Parameters that require gradients were needed, but parameter {i} of shape {tuple(p.shape)} is frozen. "
                "Leave frozen parameters out of both lists."
            )


def _seeds(tape: Tape, params: Sequence[Tensor], direction: Sequence[Tensor]) -> dict[Value, Tensor]:
    """The tangents of the leaves; a parameter that the forward did not use has none."""
    seeds: dict[Value, Tensor] = {}
    for p, d in zip(params, direction, strict=True):
        entry = tape.leaves.get(id(p))
        if entry is not None:
            seeds[entry[1]] = d.detach()
    return seeds


def _advance(
    node: Node,
    first: dict[Value, Tensor],
    second: dict[Value, Tensor],
    ledger: _Ledger,
    root: Value,
    seeds: dict[Value, Tensor],
) -> None:
    """Push the jets through one operation and settle what can be settled."""
    if not any(v in first or v in second for v in node.inputs):
        return
    if node.rule is None:
        raise MissingRuleError(_missing(node, seeds))
    if node.rule.kind is Kind.CONSTANT:
        return
    jets: Any = node.rule.propagate(Site(node, first, second))
    if isinstance(jets, tuple):
        jets = (jets,)
    for value, (dy, ddy) in zip(node.outputs, jets, strict=False):
        if value is None or not value.needs_grad:
            continue
        if dy is not None:
            first[value] = dy if dy.shape == value.shape else dy.expand(value.shape)
        if ddy is None:
            continue
        if isinstance(ddy, Spread):
            like = node.args[ddy.like]
            if not ledger.take_spread(value, ddy.terms, like):
                second[value] = ddy.terms.sum()
            continue
        ddy = ddy if ddy.shape == value.shape else ddy.expand(value.shape)
        if not ledger.take(value, ddy):
            second[value] = ddy


def _missing(node: Node, seeds: dict[Value, Tensor]) -> str:
    """Name the operation without a rule and a path to it."""
    path: list[str] = []
    value = next(v for v in node.inputs if v.needs_grad)
    while value.origin is not None:
        path.append(value.origin.name)
        held = [v for v in value.origin.inputs if v.needs_grad]
        if not held:
            break
        value = held[0]
    trail = " → ".join([f"parameter of shape {value.shape}", *reversed(path[-12:]), node.name])
    return (
        f"A derivative rule for {node.name} was needed, but there is none. It lies on the path {trail}. "
        "Register a rule for it, or express it by operations that have one; `curvestep.engine.rules` lists them."
    )


@final
class _Ledger:
    """Collects q: row by row where the split is known, as one number elsewhere."""

    def __init__(self, plan: Plan, *, split: bool) -> None:
        self.plan = plan
        self.split = split  # carry terms to clean values, so that every row is exact
        self.batch = plan.batch
        self.per_sample: Tensor | None = None
        self.shared: Tensor | None = None
        self.paired = False
        self.carried = False

    def take(self, value: Value, term: Tensor) -> bool:
        """Pair a second-order term with its cotangent if that is possible here; False: carry it on."""
        if value.slot is None or (self.split and value not in self.plan.clean):
            self.carried = self.carried or value.slot is not None
            return False
        cotangent = value.cotangent
        if cotangent is not None:
            self._add(cotangent * term, value)
        return True

    def take_spread(self, value: Value, terms: Tensor, like: Value) -> bool:
        """Pair the terms of a reduced loss with the cotangent of its scalar, before they are summed."""
        if value.slot is None or (self.split and value not in self.plan.clean):
            return False
        cotangent = value.cotangent
        if cotangent is not None:
            self._add(cotangent * terms, like)
        return True

    def _add(self, terms: Tensor, value: Value) -> None:
        self.paired = True
        axis = self.plan.axes.get(value)
        if self.batch is not None and isinstance(axis, SampleAxis) and terms.shape == value.shape:
            found = rows(terms, axis, self.batch)
            self.per_sample = found if self.per_sample is None else self.per_sample + found
        else:
            found = terms.sum()
            self.shared = found if self.shared is None else self.shared + found

    def close(
        self, tape: Tape, root: Value, first: dict[Value, Tensor], second: dict[Value, Tensor], *, per_sample: bool
    ) -> Curvature:
        """Sum up."""
        assert root.data is not None
        zero = torch.zeros((), dtype=root.data.dtype, device=root.data.device)
        cotangent = root.cotangent
        assert cotangent is not None
        if root in second:
            self._add((cotangent * second[root]).reshape(()), root)
        slope = (cotangent * first[root]).sum() if root in first else zero
        summed = zero if self.per_sample is None else self.per_sample.sum()
        total = summed + (zero if self.shared is None else self.shared)
        each: Tensor | None = None
        if per_sample and self.batch is not None:
            each = torch.zeros(self.batch, dtype=total.dtype, device=total.device)
            if self.per_sample is not None:
                each = each + self.batch * self.per_sample
            if self.shared is not None:
                each = each + self.shared
        source = "tangent+taylor" if self.carried and self.paired else "taylor" if self.carried else "tangent"
        exact = self.split or (self.plan.separable and self.batch is not None)
        return Curvature(total, slope, each, exact, source)


