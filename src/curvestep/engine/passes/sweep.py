"""The sweep over the tape: tangents go forward, second-order terms meet cotangents where the form of the pass says."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import torch
from torch import Tensor
from torch._C import _len_torch_dispatch_stack as _watchers  # pyright: ignore[reportAttributeAccessIssue]
from torch._ops import _len_torch_dispatch_stack_pre_dispatch as _early_watchers
from torch.utils._python_dispatch import _disable_current_modes

from curvestep._errors import DirectionError
from curvestep.engine.data.curvature import Curvature, Form, Order, Precision
from curvestep.engine.data.part import Part, as_chosen, spread
from curvestep.engine.data.recording import Products, Recording
from curvestep.engine.data.value import Node, Value
from curvestep.engine.passes.analysis import Plan
from curvestep.engine.passes.cut.build import cut_plan
from curvestep.engine.passes.cut.derive import RecordingCut
from curvestep.engine.passes.cut.find import find_cut
from curvestep.engine.passes.jets import carried_in, outgoing
from curvestep.engine.passes.ledger import Ledger
from curvestep.engine.passes.planned import planned
from curvestep.engine.passes.precision import Dtypes, arriving, seeded, tensorfloat32, undone, working
from curvestep.engine.passes.replay import gather, rerun
from curvestep.engine.rules.site import Site, Spread


def curvature_sweep(
    recording: Recording,
    params: Sequence[Tensor],
    direction: Sequence[Tensor],
    *,
    per_sample: bool,
    form: Form,
    samples: float | Sequence[int] | None,
    kind: Order,
    part: int | Tensor = 0,
    precision: Precision = "recorded",
    bends: bool = True,
    accelerates: bool = False,
) -> Curvature:
    """Run the sweep; see `Tape.curvature`. Without `bends` second-order terms are left out.

    If it `accelerates`, the path is θ + ½ t² d in place of θ + t d: the second derivatives of the losses are then their
    slopes along d.

    Returns:
        What was found.
    """
    check_direction(params, direction)
    # A mode that looks on may be tracing: what is read on the host then would be a constant of the trace.
    on_host = _watchers() == 0 and all([p.is_cpu for p in params])
    settings = tensorfloat32() if precision == "tf32" else nullcontext()
    # two products need the digits of float32: the sum of the terms is what is left of larger ones
    products = Products.NAIVE if precision == "tf32" else recording.products
    with torch.no_grad(), _unwatched(), settings:
        seeds = seeds_of(recording, params, direction)
        root = recording.root
        chosen = None if samples is None else _part_of(recording, root, seeds, samples, part, kind)
        if chosen is not None:
            plan, share = cut_plan(recording.nodes, *chosen), chosen[1].count / chosen[1].batch
        else:
            share = 1.0
            plan = planned(recording, root, seeds, kind)
        if not bends:
            plan = replace(plan, bends=(False,) * len(plan.steps))
        if recording.replays and form == "auto":
            form = "taylor"  # there are no cotangents to pair with
        ledger = Ledger(plan, root, form=form, per_sample=per_sample, share=share)
        present: dict[Value, Tensor] | None = {} if recording.replays else None
        first, scale = seeded(precision, plan, seeds)
        second: dict[Value, Tensor] = {}
        if accelerates:
            first, second = {}, first
        for index, node in enumerate(plan.steps):
            bent = plan.bends[index]
            if present is not None:
                gather(node, present, second if accelerates else first)
                _compute(node, present)
            reads: Dtypes | None = None
            carries: Dtypes | None = None
            d, dd = first, second
            if precision != "recorded":
                dtypes = working(precision, node, first, second)
                reads, carries = dtypes.reads, dtypes.carries
                d, dd = arriving(node, first, reads), arriving(node, second, reads)
            site = Site(node, d, dd, present, first_only=not bent, products=products, on_host=on_host, reads=reads)
            for value, dy, ddy in outgoing(node, site, d, dd, carries):
                if dy is not None:
                    first[value] = dy
                if ddy is None or not bent:
                    continue
                if isinstance(ddy, Spread):
                    if not ledger.take_spread(node, value, ddy.terms, node.args[ddy.like]):
                        second[value] = ddy.terms.sum()
                elif not ledger.take(node, value, ddy):
                    second[value] = ddy.to(carried_in(value, carries))
            _forget(plan, index, node, first, second)
            if present is not None:
                _drop(plan, index, node, present)
        found = ledger.close(first.get(root), second.get(root), None if chosen is None else chosen[1])
        return found if scale is None else undone(found, scale, once=accelerates)


def slope_sweep(recording: Recording, params: Sequence[Tensor], direction: Sequence[Tensor]) -> Tensor:
    """⟨∇J, d⟩ of all samples, by first tangents alone."""
    return curvature_sweep(
        recording, params, direction, per_sample=False, form="tangent", samples=None, kind="exact", bends=False
    ).slope


def slopes_sweep(recording: Recording, params: Sequence[Tensor], direction: Sequence[Tensor]) -> Curvature:
    """⟨∇J_s, d⟩ of each sample, in the place of its curvature."""
    return curvature_sweep(
        recording, params, direction, per_sample=True, form="taylor", samples=None, kind="exact", accelerates=True
    )


def is_traced() -> bool:
    """Whether a pass is being traced, so that nothing may be read on the host."""
    return torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.PROXY) is not None


def _unwatched() -> AbstractContextManager[object]:
    """Put dispatch modes aside, but for the one of `make_fx`: a pass that is being traced must be seen by it."""
    none_looks_on = _watchers() == 0 and _early_watchers() == 0
    return nullcontext() if none_looks_on or is_traced() else _disable_current_modes()


def _compute(node: Node, present: dict[Value, Tensor]) -> None:
    """Compute the outputs of an operation again where the recording does not hold them."""
    wanted = [v for v in node.outputs if v is not None and (v.data is None or v.overwritten)]
    if not wanted:
        return
    for value, out in zip(node.outputs, rerun(node, Site(node, {}, {}, present), False), strict=False):
        if value in wanted:
            present[value] = out


def _drop(plan: Plan, index: int, node: Node, present: dict[Value, Tensor]) -> None:
    """Drop what was computed again and no later operation reads."""
    for value in node.inputs:
        if plan.last_use[value] == index:
            present.pop(value, None)
    for value in node.outputs:
        if value is not None and value not in plan.last_use:
            present.pop(value, None)


def _part_of(
    recording: Recording,
    root: Value,
    seeds: dict[Value, Tensor],
    samples: float | Sequence[int],
    part: int | Tensor,
    kind: Order,
) -> tuple[RecordingCut, Part] | None:
    """How the recording is cut and to which samples; None where all of them are to be measured."""
    cut = find_cut(recording, root, seeds, kind)
    if cut.batch is not None:
        given = None if isinstance(samples, (int, float)) else samples
        if given is not None:
            _check_indices(given, cut.batch)
            count = len(given)
        else:
            count = math.ceil(samples * cut.batch) if isinstance(samples, float) else samples
        assert isinstance(count, int)
        if count >= cut.batch:
            return None
        if not cut.reason:
            if given is None and isinstance(part, Tensor) and recording.owners is None:
                return cut, Part.traced(cut.batch, count, part)
            chosen = spread(cut.batch, count, int(part)) if given is None else as_chosen(given)
            device = root.data.device if root.data is not None else torch.device("cpu")
            of = Part.of(cut.batch, chosen, device)
            if all([of.rows_of(owners).owners.numbers for owners in cut.owners]):
                return cut, of
    why = cut.reason or "none of the samples of the part has rows in one of the tensors that it goes through"
    warnings.warn(
        "The curvature of a part of the batch was asked for, but that of the whole batch is measured: "
        f"{why}. The result is right and costs a full pass; leave `samples` out to ask for that.",
        stacklevel=4,
    )
    return None


def _check_indices(indices: Sequence[int], batch: int) -> None:
    """Refuse indices that are not those of samples."""
    if min(indices) < 0 or max(indices) >= batch:
        raise ValueError(
            f"samples must be indices of the {batch} samples of the batch, each from 0 to {batch - 1}, but they reach "
            f"from {min(indices)} to {max(indices)}."
        )


def _forget(plan: Plan, index: int, node: Node, first: dict[Value, Tensor], second: dict[Value, Tensor]) -> None:
    """Drop the tangents that no later operation reads."""
    for value in node.inputs:
        if plan.last_use[value] == index:
            first.pop(value, None)
            second.pop(value, None)


def check_direction(params: Sequence[Tensor], direction: Sequence[Tensor]) -> None:
    """Refuse a direction that does not match the parameters."""
    if len(params) != len(direction):
        raise DirectionError(
            f"One direction tensor for each parameter was needed, but {len(params)} parameters and {len(direction)} "
            "direction tensors were given. Pass two lists of equal length."
        )
    place: dict[int, int] = {}
    for i, (p, d) in enumerate(zip(params, direction, strict=True)):
        if place.setdefault(id(p), i) != i:
            raise DirectionError(
                f"Each parameter once was needed, but parameter {i} is parameter {place[id(p)]} again. Give it one "
                "direction, the sum of both."
            )
        if p.shape != d.shape or p.dtype != d.dtype or p.device != d.device:
            raise DirectionError(
                f"A direction of shape {tuple(p.shape)}, {p.dtype} on {p.device} was needed for parameter {i}, but "
                f"shape {tuple(d.shape)}, {d.dtype} on {d.device} was given. Match the parameter, as its gradient does."
            )
        if not p.requires_grad:
            raise DirectionError(
                f"Parameters that require gradients were needed, but parameter {i} of shape {tuple(p.shape)} is "
                "frozen. Leave frozen parameters out of both lists."
            )


def seeds_of(recording: Recording, params: Sequence[Tensor], direction: Sequence[Tensor]) -> dict[Value, Tensor]:
    """The tangents of the leaves; a parameter that the forward did not use has none."""
    seeds: dict[Value, Tensor] = {}
    for p, d in zip(params, direction, strict=True):
        entry = recording.leaves.get(id(p))
        if entry is not None:
            seeds[entry[1]] = d.detach()
    return seeds
