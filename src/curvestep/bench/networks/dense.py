"""Fully connected networks."""

from __future__ import annotations

from torch import nn

_ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "elu": nn.ELU}


def dense(widths: tuple[int, ...], activation: str, linear_at: tuple[int, ...] = ()) -> nn.Sequential:
    """Linear layers of the given widths with an activation after each but the last and those in ``linear_at``."""
    layers: list[nn.Module] = [nn.Flatten()]
    for index in range(1, len(widths)):
        layers.append(nn.Linear(widths[index - 1], widths[index]))
        if index < len(widths) - 1 and index not in linear_at:
            layers.append(_ACTIVATIONS[activation]())
    return nn.Sequential(*layers)
