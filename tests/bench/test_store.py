"""Laws of the store: what was appended is read, whatever happened to the file's end."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import final

import pytest

from curvestep.bench.errors import StoreError, StoreWarning
from curvestep.bench.record import RunRecord, run_store
from curvestep.bench.store import Row, Store
from tests.bench.synthetic import record


@pytest.fixture
def store(tmp_path: Path) -> Store[RunRecord]:
    return run_store(tmp_path / "deep" / "folder")


def test_reads_what_was_appended(store: Store[RunRecord]) -> None:
    assert store.read() == ()
    runs = (record(seed=0), record("red-sgd", None, seed=1), record("adamw", 0.01, accuracy=None))
    for run in runs:
        store.append(run)
    assert store.read() == tuple(type(run).from_json(run.to_json()) for run in runs)
    assert store.keys() == {run.config.key for run in runs}


def test_appending_leaves_earlier_bytes_alone(store: Store[RunRecord]) -> None:
    store.append(record(seed=0))
    before = store.path.read_bytes()
    store.append(record(seed=1))
    assert store.path.read_bytes().startswith(before)
    assert store.path.read_bytes().count(b"\n") == 2


def test_lines_are_strict_json_even_after_a_divergence(store: Store[RunRecord]) -> None:
    store.append(record(diverged_at=7))

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    data = json.loads(store.path.read_text(), parse_constant=refuse)
    assert data["status"] == "diverged"
    assert data["samples"]["loss"][-1] is None


# A kill can stop the write after any byte.
@pytest.mark.parametrize("kept", [1, 200, -2])
def test_torn_last_line_is_skipped_and_removed(store: Store[RunRecord], kept: int) -> None:
    store.append(record(seed=0))
    whole = store.path.read_bytes()
    store.append(record(seed=1))
    store.path.write_bytes(whole + store.path.read_bytes()[len(whole) :][:kept])
    with pytest.warns(StoreWarning, match="not written to its end"):
        assert [run.config.seed for run in store.read()] == [0]
    with pytest.warns(StoreWarning, match="was removed"):
        store.append(record(seed=2))
    assert [run.config.seed for run in store.read()] == [0, 2]


def test_last_line_that_lacks_only_its_end_is_kept(store: Store[RunRecord]) -> None:
    store.append(record(seed=0))
    store.path.write_bytes(store.path.read_bytes().removesuffix(b"\n"))
    assert [run.config.seed for run in store.read()] == [0]
    store.append(record(seed=1))
    assert [run.config.seed for run in store.read()] == [0, 1]


def test_broken_line_in_the_middle_is_skipped_with_its_number(store: Store[RunRecord]) -> None:
    store.append(record(seed=0))
    with store.path.open("ab") as file:
        file.write(b'{"schema": 99}\n')
    store.append(record(seed=1))
    with pytest.warns(StoreWarning, match="Line 2 .*schema 1, this one has 99"):
        assert [run.config.seed for run in store.read()] == [0, 1]


def test_record_with_a_missing_field_is_skipped(store: Store[RunRecord]) -> None:
    data = record().to_json()
    del data["samples"]["loss"]
    store.path.parent.mkdir(parents=True)
    store.path.write_text(json.dumps(data) + "\n")
    with pytest.warns(StoreWarning, match="incomplete"):
        assert store.read() == ()


def test_of_equal_settings_the_newest_counts(store: Store[RunRecord]) -> None:
    store.append(record(final=0.5))
    store.append(record(final=0.25))
    (run,) = store.read()
    assert run.epochs[-1].train_loss == pytest.approx(0.25)


def _append_many(path: Path, first: int) -> None:
    for seed in range(first, first + 10):
        run_store(path).append(record(seed=seed))


def test_concurrent_appends_lose_nothing(store: Store[RunRecord]) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_append_many, args=(store.path, 10 * index)) for index in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert sorted(run.config.seed for run in store.read()) == list(range(30))


@final
@dataclass(frozen=True)
class Heavy(Row):
    """A line so long that a kill finds the process inside its write."""

    number: int
    load: str = ""

    @property
    def key(self) -> int:
        return self.number


_WRITER = """
import sys
from pathlib import Path
from typing import final
from curvestep.bench.store import Row, Store
from tests.bench.test_store import Heavy

store = Store(Path(sys.argv[1]), Heavy)
for number in range(10_000):
    store.append(Heavy(number, "x" * 4_000_000))
    print(number, flush=True)
"""


@pytest.mark.parametrize("delay", [0.0, 0.002, 0.005, 0.01])
def test_a_kill_in_a_write_loses_at_most_the_line_in_flight(tmp_path: Path, delay: float) -> None:
    path = tmp_path / "heavy.jsonl"
    writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    for _ in range(3):
        writer.stdout.readline()
    time.sleep(delay)
    writer.kill()
    with writer.stdout:
        said = 3 + len(writer.stdout.read().splitlines())
    writer.wait()
    store = Store(path, Heavy)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        found = [line.number for line in store.read()]
        store.append(Heavy(-1))  # the lock died with its holder
    # every line that was acknowledged, and perhaps the one whose acknowledgement was not
    assert found in (list(range(said)), list(range(said + 1)))
    assert {type(each.message).__name__ for each in heard} <= {"StoreWarning"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [line.number for line in store.read()] == [*found, -1]


def test_a_reader_never_sees_half_a_line(tmp_path: Path) -> None:
    """A reader waits for the writer that holds the lock, and so never sees half a line."""
    path = tmp_path / "heavy.jsonl"
    writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    writer.stdout.readline()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        counts = [len(Store(path, Heavy).read()) for _ in range(5)]
    writer.kill()
    writer.wait()
    writer.stdout.close()
    assert counts == sorted(counts) and counts[0] >= 1


def test_lines_of_one_append_stay_together(tmp_path: Path) -> None:
    store = Store(tmp_path / "rows.jsonl", Heavy)
    store.append(Heavy(1), Heavy(2))
    store.append()
    assert store.keys() == {1, 2}


def test_a_row_with_other_fields_is_said_and_skipped(tmp_path: Path) -> None:
    store = Store(tmp_path / "rows.jsonl", Heavy)
    store.append(Heavy(1))
    with store.path.open("a") as file:
        file.write('{"numbers": 3}\n[1]\n')
    with pytest.warns(StoreWarning) as heard:
        assert [line.number for line in store.read()] == [1]
    first, second = (str(each.message) for each in heard)
    assert "Line 2" in first and "its fields are not those of Heavy" in first
    assert "Line 3" in second and "it is not a JSON object" in second


def test_unwritable_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError, match=r"could not be written .*--out"):
        run_store(tmp_path / "file").append(record())


def test_key_ignores_nothing_that_matters() -> None:
    base = record().config
    assert record(seed=1).config.key != base.key
    assert record(lr=0.2).config.key != base.key
    assert record().config.key == base.key
    assert base.setting == record("red-sgd", None, seed=5).config.setting
    assert base.setting != record(task="mnist-lenet").config.setting


def test_runs_of_before_averages_and_shifts_are_still_read(store: Store[RunRecord]) -> None:
    data = record(seed=3).to_json()
    for epoch in data["epochs"]:
        for name in ("last_train_eval_loss", "last_test_loss", "recovery_steps"):
            del epoch[name]
    store.path.parent.mkdir(parents=True)
    store.path.write_text(json.dumps(data) + "\n")
    (run,) = store.read()
    assert run.config.seed == 3 and run.epochs[-1].last_test_loss is None
