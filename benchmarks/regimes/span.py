"""An experiment: the step to the minimum of the quadratic model on the span of the direction and the last step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import final

import torch
from torch import Tensor, nn

import curvestep
from benchmarks.regimes.training import Seen
from curvestep import _numerics
from curvestep.directions import Direction

_BETA3 = 0.9
_LONGEST = 10.0  # in units of max(‖θ‖, 1), as for the optimizers


@final
class SpanStepper:
    """θ ← θ − 2ℓ (x a + y b), with a the direction and b the last step, both of length one.

    With the slopes s = (⟨∇J, a⟩, ⟨∇J, b⟩) and, for each sample, the matrix Q_s of its curvature on the span, by
    polarisation from q_s(a), q_s(b) and q_s(a + b),

        C = mean_s |Q_s|,    Ĉ ← β₃ Ĉ + (1−β₃) C,    C̃ = Ĉ / (1 − β₃^k),    L̃ = C̃ + (C − C̃)₊,    L̃ (x, y) = s,

    with | | and ( )₊ taken of the eigenvalues: for one direction this is max(c̃, c), and the step that of Algorithm 1
    with the constant 2. Where there is no last step, or it is parallel to a, the span is a alone.

    Args:
        network: what is trained.
        direction: gives a.
        ell: ℓ.
    """

    def __init__(self, network: nn.Module, direction: Direction, ell: float) -> None:
        self.parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self.direction = direction
        self.ell = ell
        self.states = [direction.init(parameter) for parameter in self.parameters]
        self.last: list[Tensor] | None = None
        self.average = torch.zeros(2, 2, dtype=torch.float64)
        self.weight = 0.0

    def step(self, compute: Callable[[], Tensor]) -> Seen:
        """One step."""
        for parameter in self.parameters:
            parameter.grad = None
        with curvestep.record() as tape:
            loss = compute()
            loss.backward()
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in self.parameters]
        proposal = self.direction.propose(gradients, self.states)
        a = _unit(proposal.direction)
        b = None if self.last is None else _unit(self.last)
        value = loss.item()
        if a is None or not math.isfinite(value):
            tape.release()
            return Seen(value, None, "NON_FINITE_LOSS" if a is not None else "ZERO_DIRECTION")
        slopes = [_numerics.dot(gradients, a).item(), 0.0 if b is None else _numerics.dot(gradients, b).item()]
        matrices = _matrices(tape, self.parameters, a, b)
        tape.release()
        current = _spectral(matrices, torch.abs).mean(0)
        self.average.lerp_(current, 1.0 - _BETA3)
        self.weight = _BETA3 * self.weight + (1.0 - _BETA3)
        smooth = self.average / self.weight
        lipschitz = smooth + _spectral(current - smooth, lambda values: values.clamp(min=0.0))
        x, y = (torch.linalg.pinv(lipschitz) @ torch.tensor(slopes, dtype=torch.float64)).tolist()
        step = _numerics.scale(a, 2.0 * self.ell * x)
        if b is not None:
            _numerics.add_(step, b, alpha=2.0 * self.ell * y)
        length, size = (math.sqrt(_numerics.squared_norm(each).item()) for each in (step, self._values()))
        longest = _LONGEST * max(size, 1.0)
        outcome = "TAKEN"
        if length > longest:
            _numerics.scale_(step, longest / length)
            outcome = "CLAMPED"
        self.states = proposal.following
        _numerics.add_(self._values(), step, alpha=-1.0)
        self.last = step
        return Seen(value, x * slopes[0] + y * slopes[1], outcome)

    def _values(self) -> list[Tensor]:
        """θ, outside autograd."""
        return [parameter.detach() for parameter in self.parameters]


def _unit(tensors: list[Tensor]) -> list[Tensor] | None:
    """The tensors over their common length; None where that is zero or not finite."""
    length = math.sqrt(_numerics.squared_norm(tensors).item())
    return _numerics.scale(tensors, 1.0 / length) if length > 0.0 and math.isfinite(length) else None


def _matrices(tape: curvestep.Tape, parameters: list[nn.Parameter], a: list[Tensor], b: list[Tensor] | None) -> Tensor:
    """Q_s of each sample, (B, 2, 2) in float64; the second row and column are zero where there is no b."""

    def along(direction: list[Tensor]) -> Tensor:
        found = tape.curvature(parameters, direction).per_sample
        assert found is not None, "The networks of the experiments show their samples."
        return found.double()

    first = along(a)
    zero = torch.zeros_like(first)
    second = mixed = zero
    if b is not None:
        second = along(b)
        mixed = 0.5 * (along(_numerics.add(a, b)) - first - second)
    return torch.stack([first, mixed, mixed, second], 1).reshape(-1, 2, 2)


def _spectral(matrices: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """A function of the eigenvalues of symmetric matrices."""
    values, vectors = torch.linalg.eigh(matrices)
    return vectors @ (function(values).unsqueeze(-1) * vectors.mT)
