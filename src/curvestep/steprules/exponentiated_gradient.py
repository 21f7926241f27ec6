"""Exponentiated gradient for a scale of the step: the scale grows where two successive steps agree."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class ExponentiatedScale:
    """s ← clip(s · exp(γ ⟨ĝ, û⟩), [s₁, s₂]) with ĝ = g / ‖g‖ and û = u / ‖u‖, or with g and u as they are.

    u is the former step without its scale, so that θ ← θ − s u, and −⟨g, u⟩ is the derivative of the loss by s.

    Symbols: γ is ``rate``; s₁, s₂ are ``range``; ``directions`` says whether g and u are normalised.

    Args:
        rate: γ, at least 0; without unit where directions are used.
        range: Least and largest s, 0 < s₁ ≤ 1 ≤ s₂.
        directions: Whether g and u are normalised.

    Raises:
        ValueError: An argument is out of its range.

    Cost:
        A few operations on floats of the host.

    Example:
        Two steps the same way make the scale larger, by the rate at most:

        >>> rule = ExponentiatedScale(rate=0.5)
        >>> round(rule.next(1.0, product=6.0, gradient_norm_sq=4.0, update_norm_sq=9.0), 6)    # exp(½)
        1.648721

    Source:
        E. Amid, R. Anil, C. Fifty and M. K. Warmuth, "Step-size adaptation using exponentiated gradient updates"
        (arXiv 2202.00145); normalisation, range and rates from the EGDD optimizer released by members of the team.

    Deviations:
        None.
    """

    rate: float = 0.001
    range: tuple[float, float] = (0.1, 10.0)
    directions: bool = True

    def __post_init__(self) -> None:
        """Refuse arguments that are out of range."""
        check_rate("scale_lr", self.rate)
        check_range("scale_range", self.range)

    def next(self, scale: float, product: float, gradient_norm_sq: float, update_norm_sq: float) -> float:
        """Return the new scale.

        Args:
            scale: s.
            product: ⟨g, u⟩.
            gradient_norm_sq: ‖g‖².
            update_norm_sq: ‖u‖².

        Returns:
            s after the multiplication, in its range.
        """
        if self.directions:
            product /= (math.sqrt(gradient_norm_sq) + 1e-10) * (math.sqrt(update_norm_sq) + 1e-10)
        # Beyond ±700 the exponential overflows; the range limits it long before.
        return min(max(scale * math.exp(min(max(self.rate * product, -700.0), 700.0)), self.range[0]), self.range[1])


def check_rate(name: str, value: float) -> None:
    """Refuse a rate that is negative or not finite."""
    if not (math.isfinite(value) and value >= 0.0):
        msg = f"{name} is a rate of exponentiated gradient and must be finite and at least 0, but {value!r} was given."
        raise ValueError(msg)


def check_range(name: str, value: tuple[float, float]) -> None:
    """Refuse a range that does not hold 1, where everything starts."""
    pair = isinstance(value, (tuple, list)) and len(value) == 2
    if not (pair and 0.0 < value[0] <= 1.0 <= value[1] < math.inf):
        msg = f"{name} is a pair of limits around 1, 0 < least ≤ 1 ≤ largest, but {name}={value!r} was given."
        raise ValueError(msg)
