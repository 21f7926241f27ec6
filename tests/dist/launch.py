"""Starting several processes of some jobs: with torchrun, as a user does, or each by hand, which is quicker."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
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


@dataclass(frozen=True)
class End:
    """How a process ended: its exit status, what it wrote to its standard error, and when."""

    status: int
    errors: str
    when: float


def start(jobs: str, count: int, folder: Path) -> list[End]:
    """Run jobs without a supervisor, which would end all processes when one dies; how each ended."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    running: dict[int, subprocess.Popen[bytes]] = {}
    for rank in range(count):
        place = {"RANK": str(rank), "WORLD_SIZE": str(count), "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
        with (folder / f"{rank}.txt").open("wb") as errors:
            running[rank] = subprocess.Popen(
                [sys.executable, "-m", "tests.dist.worker", jobs, str(folder)],
                cwd=ROOT, env={**_environment(), **place}, stdout=subprocess.DEVNULL, stderr=errors,
            )  # fmt: skip
    begun, ends = time.monotonic(), dict[int, End]()
    try:
        while len(ends) < count and time.monotonic() - begun < PATIENCE:
            for rank, process in running.items():
                if rank not in ends and (status := process.poll()) is not None:
                    errors = (folder / f"{rank}.txt").read_text(errors="replace")
                    ends[rank] = End(status, errors, time.monotonic())
            time.sleep(0.05)
    finally:
        for process in running.values():
            process.kill()
            process.wait()
    assert len(ends) == count, f"Only the processes {sorted(ends)} ended within {PATIENCE} seconds."
    return [ends[rank] for rank in range(count)]


def found(jobs: str, folder: Path) -> dict[str, Any]:
    """What the first process found in each of the jobs."""
    return {job: json.loads((folder / f"{job}.json").read_text()) for job in jobs.split("+")}


def _environment() -> dict[str, str]:
    """The environment of this process, with one thread for each of those that are started."""
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
