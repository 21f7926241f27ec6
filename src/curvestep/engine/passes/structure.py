"""The structure of a recording, hashable and without tensors: by it a plan and a cut are looked up."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

import torch

from curvestep.engine.data.recording import Recording
from curvestep.engine.data.value import Node, Value
from curvestep.engine.passes.batch import is_weight

Key = tuple[Any, ...]
Found = TypeVar("Found")

_PLAIN = {int, float, bool, str, complex, type(None), torch.dtype, torch.device, torch.layout, torch.memory_format}


def structure_of(recording: Recording, root: Value, moving: set[Value], *more: Any) -> tuple[Key, list[Value]] | None:
    """All that an analysis of the recording depends on, and its values in the order in which operations read them.

    Args:
        recording: what was written down, with samples of one row each.
        root: the loss.
        moving: the leaves that move.
        more: what else it depends on, hashable.

    Returns:
        None where it depends on more.
    """
    number: dict[Value, int] = {}
    parts: list[Any] = [recording.stated_batch_size, *more]

    def seen(value: Value) -> Any:
        known = number.get(value)
        if known is not None:
            return Value, known  # no number of the program's own looks like it
        number[value] = len(number)
        if value.origin is not None:
            return value.shape, value.dtype, value.needs_grad
        return value.shape, value.dtype, value.needs_grad, value in moving, is_weight(value)

    try:
        for node in recording.nodes:
            rule = node.rule
            if rule is not None and rule.reads_values is not None:
                parts.append(rule.reads_values(node))
            parts.append(node.op if rule is not None else (node.op, None))  # it may be given one later
            parts += [_plain(a, seen) for a in node.args]
            if node.kwargs:
                parts += [(k, _plain(v, seen)) for k, v in node.kwargs.items()]
            parts += [None if v is None else seen(v) for v in node.outputs]
    except _Opaque:
        return None
    parts.append(number.get(root))
    return tuple(parts), list(number)


def signature(node: Node) -> Key | None:
    """What the shapes that an operation's rule makes depend on; None where they depend on more."""
    number: dict[Value, int] = {}

    def seen(value: Value) -> Any:
        return value.shape, value.dtype, value.needs_grad, number.setdefault(value, len(number))

    try:
        parts = [node.op, *[_plain(a, seen) for a in node.args]]
        parts += [(k, _plain(v, seen)) for k, v in node.kwargs.items()]
        return (*parts, *[None if v is None else seen(v) for v in node.outputs])
    except _Opaque:
        return None


def remember(known: OrderedDict[Key, Found], key: Key, found: Found, most: int) -> None:
    """Keep what was found, as that of the latest use, and of all keys together no more than `most` entries."""
    is_new = key not in known
    known[key] = found
    known.move_to_end(key)
    room = most - sum(map(len, known)) if is_new else 0
    while room < 0 and len(known) > 1:
        room += len(known.popitem(last=False)[0])


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
