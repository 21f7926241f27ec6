"""Steps of optimizers after a recording: a fused one writes to parameters without their version counters rising."""

from __future__ import annotations

import weakref
from typing import Any

from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.hooks import RemovableHandle

from curvestep.engine.data.geometry import storage_of
from curvestep.engine.data.recording import Recording
from curvestep.engine.data.value import STALE

_alive: weakref.WeakSet[Recording] = weakref.WeakSet()
_handle: RemovableHandle | None = None


def watch_steps(recording: Recording) -> None:
    """Note the parameters that any optimizer steps while the recording is alive."""
    global _handle
    _alive.add(recording)
    if _handle is None:
        _handle = register_optimizer_step_post_hook(_stepped)


def _stepped(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
    global _handle
    recordings = [recording for recording in _alive if not recording.released]
    if not recordings and _handle is not None:
        _handle.remove()
        _handle = None
        return
    moved = {id(p) for group in optimizer.param_groups for p in group["params"]}
    for recording in recordings:
        recording.stepped |= moved & recording.leaves.keys()


def age_stepped(recording: Recording) -> None:
    """Have passes refuse every value that lies in the storage of a stepped parameter."""
    if not recording.stepped:
        return
    storages = {storage_of(recording.leaves[key][0]) for key in recording.stepped}
    recording.stepped.clear()
    values = [value for _, value in recording.leaves.values()]
    values += [value for node in recording.nodes for value in node.outputs if value is not None]
    for value in values:
        tensor = value.data
        if tensor is not None and value.version >= 0 and storage_of(tensor) in storages:
            value.version = STALE
