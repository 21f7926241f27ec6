"""What a run ran on: versions, processor, revision; never the name of a host, of a person, or a path."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any


def environment(device: str) -> dict[str, Any]:
    """Return the versions and the processor that a run's seconds depend on."""
    import numpy
    import torch

    import curvestep

    return {
        "curvestep": curvestep.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "system": platform.system(),
        "machine": platform.machine(),
        "processor": _processor(),
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name(device) if device.startswith("cuda") else None,
    }


def revision() -> str | None:
    """Return the git revision of the source, with ``+`` if files differ from it; None outside a checkout."""
    folder = Path(__file__).resolve().parent
    try:
        # The library's own files must be tracked: a package installed inside some other checkout has no revision.
        tracked = _git(folder, "ls-files", "--", Path(__file__).name)
        head = _git(folder, "rev-parse", "HEAD")
        if not tracked or not head:
            return None
        return head + ("+" if _git(folder.parent, "status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    """The output of one git command."""
    result = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10)
    if result.returncode != 0:
        raise subprocess.SubprocessError(result.stderr)
    return result.stdout.strip()


def _processor() -> str | None:
    """The processor's model name where the system says it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or None
