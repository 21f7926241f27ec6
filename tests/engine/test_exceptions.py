"""An exception at any operation of forward, backward or pass leaves no mode, no hook and no reference behind."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack

import curvestep

pytestmark = pytest.mark.usefixtures("float64")


class Interrupted(Exception):
    """What the operation raises."""


class Interrupting(TorchDispatchMode):
    """Raises in place of the operation of a number; counts them."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at, self.ran = at, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.ran += 1
        if self.ran > self.at:
            raise Interrupted
        return func(*args, **(kwargs or {}))


def _net() -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Dropout(0.2), nn.Linear(4, 3))
    return net, torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1])


def _measure(net: nn.Module, x: Tensor, y: Tensor, seen: list[weakref.ref[Any]], memory: Any) -> Tensor:
    params = list(net.parameters())
    with curvestep.record(memory=memory) as tape:
        seen.append(weakref.ref(tape))
        loss = F.cross_entropy(net(x), y)
        seen.append(weakref.ref(loss))
        loss.backward()
    found = tape.curvature(params, [torch.ones_like(p) for p in params])
    return found.total


def _interrupted(at: int, memory: Any) -> int | None:
    """The number of operations, or None where one was interrupted and all was well after it."""
    net, x, y = _net()
    run = torch.autograd._engine_run_backward
    seen: list[weakref.ref[Any]] = []
    mode = Interrupting(at)
    try:
        with mode:
            _measure(net, x, y, seen, memory)
        return mode.ran
    except Interrupted:
        pass
    assert not _get_current_dispatch_mode_stack(), f"a mode is left behind by operation {at}"
    assert torch.autograd._engine_run_backward is run, f"backward is still watched after operation {at}"
    gc.collect()
    assert all(reference() is None for reference in seen), f"operation {at} left the tape or the loss alive"
    assert not any(p._backward_hooks for p in net.parameters()), f"operation {at} left a hook"
    return None


@pytest.mark.parametrize("memory", ["keep", "split"])
def test_nothing_is_left_behind_by_an_exception_at_any_operation(memory: Any) -> None:
    gc.collect()
    gc.freeze()  # what was there before is not looked through again at each operation
    net, x, y = _net()
    torch.manual_seed(1)
    expected = _measure(net, x, y, [], memory)
    at = 0
    while (ran := _interrupted(at, memory)) is None:
        at += 1
    assert at == ran > 30, "every operation of forward, backward and pass was interrupted once"
    gc.unfreeze()
    net, x, y = _net()
    torch.manual_seed(1)
    assert torch.equal(_measure(net, x, y, [], memory), expected)
