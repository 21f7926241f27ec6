"""How a recording is cut, looked up by its structure: found and checked once for each."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.nn import Parameter

from curvestep.engine.data.curvature import Order
from curvestep.engine.data.recording import Recording
from curvestep.engine.data.rule import NotCut
from curvestep.engine.data.value import Value
from curvestep.engine.passes.analysis import analyse, gauss_newton
from curvestep.engine.passes.cut.derive import RecordingCut, derive
from curvestep.engine.passes.cut.verify import verify


def find_cut(recording: Recording, root: Value, moving: Iterable[Value], kind: Order) -> RecordingCut:
    """How to cut the tape, or why that cannot be done; a tape of known structure is not looked at twice."""
    moving = set(moving)
    computed = recording.computed_from(moving)
    plain = computed == moving and recording.owners is None
    key = _structure(recording, root, moving, kind) if plain else None
    known = None if key is None else _CUTS.get(key)
    if key is not None and known is not None:
        _CUTS.move_to_end(key)
        return known
    plan = analyse(recording, root, moving, computed)
    if kind == "ggn":
        plan = gauss_newton(plan, root, moving)
    try:
        found = derive(plan, root, {node: i for i, node in enumerate(recording.nodes)})
        verify(recording.nodes, plan, found)
    except NotCut as why:
        found = RecordingCut(plan.batch, str(why))
    if key is not None:
        _CUTS[key] = found
        room = _MOST_ENTRIES - sum(map(len, _CUTS))
        while room < 0 and len(_CUTS) > 1:
            room += len(_CUTS.popitem(last=False)[0])
    return found


_CUTS: OrderedDict[tuple[Any, ...], RecordingCut] = OrderedDict()
_MOST_ENTRIES = 1 << 19  # of all keys together, some 50 MB: a hundred shapes of a large network, thousands of a small
_PLAIN = {int, float, bool, str, complex, type(None), torch.dtype, torch.device, torch.layout, torch.memory_format}


def _structure(recording: Recording, root: Value, moving: set[Value], kind: Order) -> tuple[Any, ...] | None:
    """All that a cut depends on, hashable and without tensors; None where it depends on more."""
    number: dict[Value, int] = {}
    parts: list[Any] = [recording.stated_batch_size, kind]

    def seen(value: Value) -> Any:
        known = number.get(value)
        if known is not None:
            return Value, known  # no number of the program's own looks like it
        number[value] = len(number)
        if value.origin is not None:
            return value.shape, value.dtype, value.needs_grad
        return value.shape, value.dtype, value.needs_grad, value in moving, type(value.data) is Parameter

    try:
        for node in recording.nodes:
            if node.rule is not None and node.rule.reads_values is not None:
                parts.append(node.rule.reads_values(node))
            parts.append(node.op if node.rule is not None else (node.op, None))  # it may be given one later
            parts += [_plain(a, seen) for a in node.args]
            if node.kwargs:
                parts += [(k, _plain(v, seen)) for k, v in node.kwargs.items()]
            parts += [None if v is None else seen(v) for v in node.outputs]
    except _Opaque:
        return None
    parts.append(number.get(root))
    return tuple(parts)


def _plain(arg: Any, seen: Callable[[Value], Any]) -> Any:
    """An argument without its tensors."""
    kind = type(arg)
    if kind is Value:
        return seen(arg)
    if kind in _PLAIN:
        return arg
    if kind is list or kind is tuple:
        return tuple([_plain(a, seen) for a in arg])
    raise _Opaque


class _Opaque(Exception):
    """An argument of which only its own code knows what it does."""
