"""Step sizes for PyTorch training, measured from the curvature of the loss instead of tuned."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
