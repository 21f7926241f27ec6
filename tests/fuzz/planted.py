"""Operations whose rules are wrong on purpose: what cannot find them is no fuzzer.

Each is torch's own function under another name, registered with a formula that has a fault. The formulas go in by
`curvestep.register_rule`, as a user's would.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import curvestep
from tests.fuzz.operations.operation import Operation
from tests.fuzz.programs import plant


@dataclass(frozen=True)
class Planted:
    """A wrong rule.

    Attributes:
        row: the operation for the fuzzer's table.
        kinds: the faults that it can show itself by.
    """

    row: Operation
    kinds: frozenset[str]


def _operation(name: str, forward: Callable[..., Tensor], formula: Callable[..., Tensor], samples: Any) -> None:
    """Define torch.ops.fuzz.<name> with the derivatives of `forward`, and the engine's rule from `formula`."""
    op = torch.library.custom_op(
        f"fuzz::{name}", lambda x: forward(x).clone(), mutates_args=(), schema="(Tensor x) -> Tensor"
    )

    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        with torch.enable_grad():
            x = x if x.requires_grad else x.detach().requires_grad_()
            (found,) = torch.autograd.grad(forward(x), x, grad, create_graph=True)
        return found

    op.register_autograd(backward, setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs))
    op.register_fake(lambda x: torch.empty_like(x))
    curvestep.register_rule(getattr(torch.ops.fuzz, name), formula, samples=samples)


def _bent(x: Tensor) -> Tensor:
    """The value and slope of tanh, and a second derivative that is 1 + 1e-6 times its own."""
    y = torch.tanh(x)
    return y + 1e-6 * (y - y.detach() - (1 - y.detach() ** 2) * (x - x.detach()))


def _dropped(x: Tensor) -> Tensor:
    """The value and slope of x sin x without the mixed term of its second derivative."""
    at, s = x.detach(), torch.sin(x)
    return x * s - (x - at) * (s - s.detach())


def plant_all() -> list[Planted]:
    """Register the wrong rules, once a process."""
    if not _PLANTED:
        _operation("bent", torch.tanh, _bent, "elementwise")
        _operation("dropped", lambda x: x * torch.sin(x), _dropped, "elementwise")
        _operation("rolled", lambda x: x.roll(1, 0).sin(), lambda x: x.roll(1, 0).sin(), "first")
        _operation("reversed", lambda x: x.flip(-1), lambda x: x.flip(-1), "elementwise")
        curved = frozenset({"total", "hvp", "rows", "mean of rows", "total of a part", "rows of a part"})
        split = frozenset({"rows", "rows of a part", "total of a part", "slope of a part", "number of rows"})
        for name, kinds in (("bent", curved), ("dropped", curved), ("rolled", split), ("reversed", split)):
            row = Operation(f"planted: {name}", f"torch.ops.fuzz.{name}({{a}})")
            plant(row)
            _PLANTED.append(Planted(row, kinds))
    return _PLANTED


_PLANTED: list[Planted] = []
