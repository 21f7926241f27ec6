"""Keep freed memory in the process, so that large tensors do not fault their pages in anew at every operation."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD = -1  # glibc's mallopt(3)
_M_MMAP_THRESHOLD = -3
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Return whether glibc's allocator keeps what is freed, after asking it to.

    torch has no caching allocator on CPUs: by default each tensor above a few hundred kilobytes is mapped, faulted in
    and unmapped again, which for elementwise work costs more than the work. Every method of the benchmark runs under
    this setting; elsewhere than on glibc it does nothing.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _NEVER)) and bool(mallopt(_M_TRIM_THRESHOLD, _NEVER))
