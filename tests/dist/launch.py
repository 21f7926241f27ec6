"""Starting several processes of some jobs: with torchrun, as a user does, or each by hand, which is quicker."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
#: Seconds after which they count as hanging.
PATIENCE = 240


def launch(jobs: str, count: int, folder: Path) -> dict[str, Any]:
    """Run jobs of `tests.dist.worker` under torchrun, and return what they found.

    Args:
        jobs: their names, with a plus between them.
        count: how many processes.
        folder: where they leave files.
    """
    runner = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    done = subprocess.run(
        [sys.executable, *runner, "-m", "tests.dist.worker", jobs, str(folder)],
        cwd=ROOT, env=_environment(), capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-6000:]
    return found(jobs, folder)


def start(jobs: str, count: int, folder: Path) -> list[tuple[int, str]]:
    """Run jobs without a supervisor, which would end all processes when one dies; how each ended, with its errors."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    running = []
    for rank in range(count):
        place = {"RANK": str(rank), "WORLD_SIZE": str(count), "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
        running.append(
            subprocess.Popen(
                [sys.executable, "-m", "tests.dist.worker", jobs, str(folder)],
                cwd=ROOT,
                env={**_environment(), **place},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )  # fmt: skip
        )
    try:
        errors = [process.communicate(timeout=PATIENCE if process is running[0] else 60)[1] for process in running]
    finally:
        for process in running:
            process.kill()
    return [(process.returncode, error) for process, error in zip(running, errors, strict=True)]


def found(jobs: str, folder: Path) -> dict[str, Any]:
    """What the first process found in each of the jobs."""
    return {job: json.loads((folder / f"{job}.json").read_text()) for job in jobs.split("+")}


def _environment() -> dict[str, str]:
    """The environment of this process, with one thread for each of those that are started."""
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
