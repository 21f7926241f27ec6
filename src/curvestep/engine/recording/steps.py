"""Steps of optimizers after a recording: a fused one writes to parameters without their version counters rising.

Where several optimizers move the parameters of a loss, what one of them moves is kept for those that have yet to
measure, as it was in the forward.
"""

from __future__ import annotations

import weakref
from typing import Any

from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils.hooks import RemovableHandle

from curvestep.engine.data.geometry import storage_of
from curvestep.engine.data.recording import Recording
from curvestep.engine.data.value import STALE, Value

#: By their ids; a weak set asks more of Python at every step than all that is done with it.
_alive: dict[int, weakref.ref[Recording]] = {}
#: Kept while recordings come between the steps, since to set and to remove them at each costs more than the hooks.
_handles: list[RemovableHandle] = []
_is_idle = False  # whether there was no recording at the last step


def watch_steps(recording: Recording) -> None:
    """Note the parameters that any optimizer steps while the recording is alive."""
    global _is_idle
    _is_idle = False
    _alive[id(recording)] = weakref.ref(recording)
    if not _handles:
        _handles.append(register_optimizer_step_pre_hook(_about_to_step))
        _handles.append(register_optimizer_step_post_hook(_stepped))


def _about_to_step(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
    for recording in _present():
        others = [moving for owner, moving in recording.waiting.values() if owner != id(optimizer)]
        if not others:
            continue
        moved = _parameters(optimizer)
        if any(id(p) not in moved for moving in others for p in moving):  # one that wraps another has the same
            _part(recording, moved & recording.leaves.keys())


def _stepped(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
    global _is_idle
    recordings = _present()
    if not recordings:
        if _is_idle:
            for handle in _handles:
                handle.remove()
            _handles.clear()
        _is_idle = True
        return
    moved = _parameters(optimizer)
    for recording in recordings:
        recording.stepped |= moved & recording.leaves.keys()


def _present() -> list[Recording]:
    """The recordings that still hold something; forget the others."""
    found: list[Recording] = []
    for key, reference in list(_alive.items()):
        recording = reference()
        if recording is None or recording.released:
            _alive.pop(key, None)
        else:
            found.append(recording)
    return found


def _parameters(optimizer: Optimizer) -> set[int]:
    return {id(p) for group in optimizer.param_groups for p in group["params"]}


def _part(recording: Recording, moving: set[int]) -> None:
    """Copy every value that lies in the storage of a parameter which is about to move."""
    storages = {storage_of(recording.leaves[key][0]) for key in moving}
    for value in _values(recording):
        tensor = value.data
        if tensor is not None and value.version >= 0 and not value.overwritten and storage_of(tensor) in storages:
            value.data, value.version = tensor.detach().clone(), -1


def _values(recording: Recording) -> list[Value]:
    made = [value for node in recording.nodes for value in node.outputs if value is not None]
    return [*(value for _, value in recording.leaves.values()), *made]


def age_stepped(recording: Recording) -> None:
    """Have passes refuse every value that lies in the storage of a stepped parameter."""
    if not recording.stepped:
        return
    storages = {storage_of(recording.leaves[key][0]) for key in recording.stepped}
    recording.parted |= {key for key in recording.stepped if recording.leaves[key][1].version < 0}
    recording.stepped.clear()
    for value in _values(recording):
        tensor = value.data
        if tensor is not None and value.version >= 0 and storage_of(tensor) in storages:
            value.version = STALE
