"""Warnings that point at the line of the user's program that led to them."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import torch

#: Where frames are not the user's: this package, torch's wrappers around an optimizer, and contextlib's around a block.
_NOT_THE_USER = (str(Path(__file__).parent), str(Path(torch.__file__).parent), "contextlib.py", "functools.py")


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Issue a warning whose place is the innermost frame outside of this package."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and _is_inside(frame.f_code.co_filename):
        frame = frame.f_back
        level += 1
    warnings.warn(message, category, stacklevel=level)


def _is_inside(filename: str) -> bool:
    package, torch_folder, *endings = _NOT_THE_USER
    return filename.startswith((package, torch_folder)) or filename.endswith(tuple(endings))
