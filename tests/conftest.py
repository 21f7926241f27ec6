"""What every test starts from: fixed seeds, one torch thread a process, and real data only where it is present."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

# The same examples at every run, so that a failure is reproduced by running the test again. No deadline: the time of
# one example depends on what else the machine is doing.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

# Several test processes share the cores; more threads than cores only slow each other down.
torch.set_num_threads(1)

SEED = 20240229

# The file that shows that a data set is present, in the folder that CURVESTEP_DATA names.
DATA_SETS = {
    "mnist": "mnist/train-*.parquet",
    "cifar10": "cifar10/train-*.parquet",
    "cifar100": "cifar100/train-*.parquet",
    "tinyshakespeare": "tinyshakespeare/input.txt",
}


def missing_data(names: tuple[str, ...]) -> str | None:
    """Say in a sentence why the named data sets cannot be used, or None if they all can."""
    folder = os.environ.get("CURVESTEP_DATA")
    if not folder:
        return "This test needs a real data set; set CURVESTEP_DATA to the folder that holds it."
    for name in names or tuple(DATA_SETS):
        if not any(Path(folder).glob(DATA_SETS[name])):
            return f"CURVESTEP_DATA is set to {folder}, where no file matches {DATA_SETS[name]}."
    return None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what this machine cannot run: `@pytest.mark.gpu`, and `@pytest.mark.data("mnist", …)` (no name: all)."""
    if item.get_closest_marker("gpu") is not None and not torch.cuda.is_available():
        pytest.skip("This test needs a CUDA device and torch sees none.")
    marker = item.get_closest_marker("data")
    if marker is not None and (reason := missing_data(marker.args)) is not None:
        pytest.skip(reason)


@pytest.fixture(autouse=True)
def seed() -> int:
    """Seed Python, numpy and torch before each test, and return the seed."""
    random.seed(SEED)
    np.random.seed(SEED)
    torch.manual_seed(SEED)
    return SEED


@pytest.fixture
def float64() -> Iterator[torch.dtype]:
    """Make float64 torch's default dtype for one test."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield torch.float64
    torch.set_default_dtype(before)


@pytest.fixture
def data_dir(request: pytest.FixtureRequest) -> Path:
    """The folder of the real data sets; skips where it, or a set named by `@pytest.mark.data("mnist")`, is missing."""
    marker = request.node.get_closest_marker("data")
    reason = missing_data(marker.args if marker is not None else ())
    if reason is not None:
        pytest.skip(reason)
    return Path(os.environ["CURVESTEP_DATA"])
