"""Starting several processes of one job, with torchrun as a user does, or each by hand where one of them is to die."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
#: Seconds after which a job counts as hanging.
PATIENCE = 240


def launch(job: str, count: int, folder: Path) -> Any:
    """Run a job of `tests.dist.worker` in so many processes, and return what its first one found.

    Args:
        job: the name of the job.
        count: how many processes.
        folder: where they leave files.
    """
    runner = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    command = [sys.executable, *runner, "-m", "tests.dist.worker", job, str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, env=_environment(), capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr[-6000:]
    return json.loads((folder / f"{job}.json").read_text())


def start(job: str, count: int, folder: Path, port: int) -> list[subprocess.Popen[str]]:
    """Start the processes of a job without a supervisor that would end them all when one dies."""
    running = []
    for rank in range(count):
        place = {"RANK": str(rank), "WORLD_SIZE": str(count), "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
        running.append(
            subprocess.Popen(
                [sys.executable, "-m", "tests.dist.worker", job, str(folder)],
                cwd=ROOT,
                env={**_environment(), **place},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return running


def _environment() -> dict[str, str]:
    """The environment of this process, with one thread for each of those that are started."""
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
