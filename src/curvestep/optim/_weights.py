"""How large the weights are: one number of all tensors that a step moves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor

from curvestep.optim._gather import Gathered, Sums, squares_of

_NAME = "weight_norm_sq_"


def weight_squares(gathered: Gathered) -> Sums:
    """Return ‖w‖² of each weight tensor that moves, under a name of its own."""
    return {f"{_NAME}{i}": [square] for i, square in enumerate(squares_of(_weights(gathered)))}


def weight_size(numbers: Mapping[str, float], gathered: Gathered) -> float:
    """Return the geometric mean of the tensors' root mean squares, those of zeros left out; 0 where all are zeros.

    A mean of logarithms, so that one table of embeddings that begins twenty times as large as the rest does not decide.

    Args:
        numbers: What ``weight_squares`` comes to, of all processes.
        gathered: What moves.
    """
    counts = [weight.numel() * (2 if weight.is_complex() else 1) for weight in _weights(gathered)]
    squares = [(numbers[f"{_NAME}{i}"], count) for i, count in enumerate(counts)]
    logs = [0.5 * math.log(square / count) for square, count in squares if square > 0.0 and math.isfinite(square)]
    return math.exp(math.fsum(logs) / len(logs)) if logs else 0.0


def _weights(gathered: Gathered) -> Sequence[Tensor]:
    """Return the tensors with two dimensions or more: biases and the gains of norms begin at 0 and 1 by convention.

    A complex number is a pair of real ones, and the pair is a dimension.
    """
    return [p for part in gathered.moving for p in part.parameters if p.dim() + p.is_complex() >= 2]
