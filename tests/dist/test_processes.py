"""Several processes that train one model, on gloo: they take the step of one process on the whole batch.

All that two processes do is one launch, since starting them takes longer than what they do; `worker.py` has the jobs.
"""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.dist.cells import Cell
from tests.dist.checkpoints import KILLED, LAST, SAVED, resumed
from tests.dist.launch import found, launch, start

pytestmark = [pytest.mark.dist, pytest.mark.slow]

#: How far parameters may be from those of one process, relative to them: what another order of the sums does to numbers
#: with this rounding in twenty steps that a quotient of measured numbers decides. Measured: 6e-16, 4e-7, 9e-3, 9e-4.
ALLOWED = {"float64": 1e-10, "float32": 1e-5, "bfloat16": 5e-2, "float16": 5e-3}


def assert_same(runs: dict[str, Any]) -> None:
    """Fail with all settings whose parameters differ, from one process's or between the processes."""
    limits = {name: next((v for k, v in ALLOWED.items() if k in name), ALLOWED["float64"]) for name in runs}
    wrong = {name: one for name, one in runs.items() if not (one["equal"] and one["error"] <= limits[name])}
    assert runs and not wrong


def test_two_processes(tmp_path: Path) -> None:
    compared = "matrix+uneven+odd+averages+carried+tensor_parallel+long"
    seen = launch(f"{compared}+not_finite+memory+refusals+counts+windows+trials", 2, tmp_path)
    for job in compared.split("+"):
        assert_same(seen[job])
    assert 0 < seen["memory"]["most"] <= 2 * seen["memory"]["layer"]  # a layer's weights and their tangents

    assert_same(seen["windows"])
    # Of gradients, and for the whole reading one; with shards the step asks for one more, as every step does.
    assert [run["reduced"] for run in seen["windows"].values()] == [2, 2, 3, 3]

    assert_same(seen["trials"])
    for name, run in seen["trials"].items():
        assert run["outcomes"] == run["alone"] and run["outcomes"]["TAKEN_BACK"] == 1, name

    for name, run in seen["not_finite"].items():
        assert run["agree"] and run["equal"], name
        assert run["outcomes"][2].startswith("NON_FINITE"), name
        assert run["moved"] == [True, True, False, True, True], name

    for name, sentence in seen["refusals"].items():
        assert ("Shard parameters with fully_shard" if "parallel" in name else "Leave process_group at") in sentence

    # Of gradients, and where something is measured one more for each time that numbers are waited for: a loss along a
    # line is asked for after the slope, a second gradient after the first.
    base = seen["counts"].pop("AdamW")
    assert base == [1, 1]
    assert seen["counts"] == {
        "Auto": [1, 2],  # a step within a window measures nothing; at its end one for the whole reading
        "WindowedAdam": [1, 2],
        "RescaledSGD": [2, 2],
        "RescaledAdam": [2, 2],
        "LQA": [3, 3],
        "ALIG": [2, 2],
        "EGStepSize": [1, 1],
        "EGStepSize around RescaledAdam": [2, 2],
        "StepTunedSGD": [3, 3],
    }


# It says so itself where there is one process.
@pytest.mark.filterwarnings("ignore:torch.distributed is disabled:UserWarning")
def test_four_processes_of_which_one_is_killed(tmp_path: Path) -> None:
    *living, dead = start("long+own_groups+odd+killed", 4, tmp_path)
    seen = found("long+own_groups+odd", tmp_path)
    assert_same(seen["long"])
    assert_same(seen["odd"])
    assert max(seen["own_groups"]["errors"]) < 1e-10

    assert dead.status == -signal.SIGKILL
    assert all(end.status > 0 and "Error" in end.errors and end.when < dead.when + 60.0 for end in living)
    ends = start("resume", 3, tmp_path)
    assert all(end.status == 0 for end in ends), ends
    assert_same(found("resume", tmp_path)["resume"])
    for name, sharing in SAVED:  # and in this process, of a model that nobody shares
        own, reference = resumed(Cell(name, "one", "float64", "plain"), tmp_path / f"{name}-{sharing}")
        assert torch.allclose(own, reference, rtol=1e-10, atol=1e-10)
    own, reference = resumed(replace(KILLED, sharing="one"), tmp_path / LAST)
    assert torch.allclose(own, reference, rtol=1e-10, atol=1e-10)
