"""Several processes that train one model, on gloo: they take the step of one process on the whole batch.

All that two processes do is one launch, since starting them takes longer than what they do; `worker.py` has the jobs.
"""

from __future__ import annotations

import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.dist.launch import launch, start

pytestmark = [pytest.mark.dist, pytest.mark.slow]

#: How far parameters may be from those of one process, relative to them: what another order of the sums does to numbers
#: with this rounding in twenty steps that a quotient of measured numbers decides. Measured: 6e-16, 4e-7, 9e-3, 9e-4.
ALLOWED = {"float64": 1e-10, "float32": 1e-5, "bfloat16": 5e-2, "float16": 5e-3}


def assert_same(found: dict[str, Any]) -> None:
    """Fail with all settings whose parameters differ, from one process's or between the processes."""
    limits = {name: next((v for k, v in ALLOWED.items() if k in name), ALLOWED["float64"]) for name in found}
    wrong = {name: one for name, one in found.items() if not (one["equal"] and one["error"] <= limits[name])}
    assert found and not wrong


def test_two_processes(tmp_path: Path) -> None:
    found = launch("matrix+uneven+not_finite+odd+memory+refusals+counts+long", 2, tmp_path)
    assert_same(found["matrix"])
    assert_same(found["uneven"])
    assert_same(found["long"])
    assert_same(found["odd"])
    assert 0 < found["memory"]["most"] <= 2 * found["memory"]["layer"]  # a layer's weights and their tangents

    for name, run in found["not_finite"].items():
        assert run["agree"] and run["equal"], name
        assert run["outcomes"][2].startswith("NON_FINITE"), name
        assert run["moved"] == [True, True, False, True, True], name

    refused = found["refusals"]
    for name in ("Auto", "LQA"):
        assert (
            "as tensor parallelism does. Shard parameters with fully_shard alone" in refused[f"{name}, tensor parallel"]
        )
    assert refused["ALIG, tensor parallel"] == refused["EGStepSize, tensor parallel"] == ""
    assert "Leave process_group at 'default'" in refused["alone with shards"]

    # Of gradients, and where something is measured one more for each time that numbers are waited for: a loss along a
    # line is asked for after the slope, a second gradient after the first.
    base = found["counts"].pop("AdamW")
    assert base == [1, 1]
    assert found["counts"] == {
        "Auto": [2, 1],  # its twelfth step measures nothing
        "RescaledSGD": [2, 2],
        "RescaledAdam": [2, 2],
        "LQA": [3, 3],
        "ALIG": [2, 2],
        "EGStepSize": [1, 1],
        "EGStepSize around RescaledAdam": [2, 2],
        "StepTunedSGD": [3, 3],
    }


def test_four_processes(tmp_path: Path) -> None:
    found = launch("long+own_groups+odd", 4, tmp_path)
    assert_same(found["long"])
    assert max(found["own_groups"]["errors"]) < 1e-10
    assert_same(found["odd"])


def test_after_a_process_was_killed_others_end_and_checkpoints_load_on_one_and_on_three(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    living, dying = start("killed", 2, tmp_path, port)
    dying.communicate(timeout=240)
    assert dying.returncode == -signal.SIGKILL
    _, complaint = living.communicate(timeout=60)
    assert living.returncode != 0 and "Error" in complaint
    for processes in (1, 3):
        found = launch("resume+rescue", processes, tmp_path)
        assert_same(found["resume"])
        assert_same(found["rescue"])
