"""The store of the figures: what a line keeps, what a kill, another version or a full disk leave of it."""

from __future__ import annotations

import dataclasses
import gzip
import json
import multiprocessing
from pathlib import Path

import pytest

from benchmarks.paper.plan import Line
from benchmarks.paper.store import CompactRun, chosen, line_runs, pack, read_runs, task_store, thinned
from curvestep.bench.errors import StoreError, StoreWarning
from curvestep.bench.record import RunRecord
from curvestep.bench.settings import Wish, run_config
from curvestep.bench.store import rounded
from tests.bench.synthetic import record


def test_a_line_keeps_what_is_shown(tmp_path: Path) -> None:
    run = record(method="red-sgd", lr=None)
    task_store(tmp_path, "digits-mlp").append(CompactRun(run))
    (read,) = read_runs(tmp_path).values()
    assert read.config == run.config and read.outcomes == run.outcomes
    for own, back in zip(run.epochs, read.epochs, strict=True):
        assert rounded(rounded(dataclasses.asdict(own), 7), 5) == dataclasses.asdict(back)
    assert read.samples == thinned(read.samples, 60) and read.samples.step == run.samples.step


def test_columns_without_a_number_cost_nothing() -> None:
    line = CompactRun(record(accuracy=None)).to_json()
    assert "test_accuracy" not in line["epochs"] and "curvature" not in line["samples"]
    back = CompactRun.from_json(json.loads(json.dumps(line))).run
    assert [epoch.test_accuracy for epoch in back.epochs] == [None] * 3
    assert back.samples.curvature == (None,) * 30


def test_a_run_that_diverged_in_its_first_epoch_is_kept() -> None:
    line = CompactRun(record(diverged_at=4))
    back = CompactRun.from_json(json.loads(json.dumps(line.to_json()))).run
    assert (back.status, back.diverged_at, back.epochs, back.last) == ("diverged", 4, (), None)
    assert back.samples.loss[-1] is None, "what is not finite is no number"


@pytest.mark.parametrize(("count", "limit", "kept"), [(10, 60, 10), (61, 60, 31), (400, 60, 58), (1, 1, 1), (0, 5, 0)])
def test_samples_are_thinned_to_every_nth_and_the_last(count: int, limit: int, kept: int) -> None:
    samples = record().samples
    long = dataclasses.replace(samples, **{field.name: tuple(range(count)) for field in dataclasses.fields(samples)})
    found = thinned(long, limit).step
    assert len(found) == kept and found[-1:] == tuple(range(count))[-1:]


def test_a_torn_line_and_one_of_another_version_are_sentences(tmp_path: Path) -> None:
    store = task_store(tmp_path, "digits-mlp")
    store.append(CompactRun(record(seed=0)), CompactRun(record(seed=1)))
    whole = store.path.read_text()
    other = whole.splitlines()[1].replace('"compact":1', '"compact":7')
    store.path.write_text(whole.splitlines()[0] + "\n" + other + "\n" + other[:40])
    with pytest.warns(StoreWarning) as said:
        runs = read_runs(tmp_path)
    assert len(runs) == 1
    assert "This version reads compact runs of form 1, this one has 7" in str(said[0].message)
    assert "Line 3 of" in str(said[1].message) and "not written to its end" in str(said[1].message)
    with pytest.warns(StoreWarning, match="was removed"):
        store.append(CompactRun(record(seed=2)))
    with pytest.warns(StoreWarning, match="form 1"):
        assert [run.config.seed for run in read_runs(tmp_path).values()] == [0, 2]


def test_a_full_disk_is_a_sentence_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = task_store(tmp_path, "digits-mlp")
    store.append(CompactRun(record(seed=0)))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(StoreError, match=r"could not be written \(No space left on device\); give another folder"):
            store.append(CompactRun(record(seed=1)))
    assert record(seed=0).key in read_runs(tmp_path)


def _append(folder: Path, seeds: range) -> None:
    for seed in seeds:
        task_store(folder, "digits-mlp").append(CompactRun(record(seed=seed)))


def test_two_processes_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_append, args=(tmp_path, range(first, first + 12))) for first in (0, 12)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
        assert writer.exitcode == 0
    assert sorted(run.config.seed for run in read_runs(tmp_path).values()) == list(range(24))


def test_a_large_file_is_packed_and_read_with_what_is_added(tmp_path: Path) -> None:
    store = task_store(tmp_path, "digits-mlp")
    _append(tmp_path, range(2))
    before = read_runs(tmp_path)
    assert pack(tmp_path) == [], "below three million bytes nothing is packed"
    (packed,) = pack(tmp_path, limit=10)
    assert not store.path.exists() and read_runs(tmp_path) == before
    newer = dataclasses.replace(record(seed=1), parameters=1)
    store.append(CompactRun(newer), CompactRun(record(seed=2)))
    runs = read_runs(tmp_path)
    assert len(runs) == 3 and runs[newer.key].parameters == 1
    pack(tmp_path, limit=10)
    assert read_runs(tmp_path) == runs and len(gzip.decompress(packed.read_bytes()).splitlines()) == 3
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(StoreError, match=r"packed store .* could not be read .* take it from the repository again"):
        read_runs(tmp_path)


LINE = Line("sgd", "sgd", Wish("digits-mlp", scale="small", epochs=10), (0.1, 1.0, 10.0), (0.5, 1.0))


def ended(run: RunRecord, loss: float | None) -> RunRecord:
    """A run that ended at this loss, or a miss."""
    if loss is None:
        return dataclasses.replace(run, status="diverged", diverged_at=5, epochs=())
    return dataclasses.replace(run, epochs=(dataclasses.replace(run.epochs[-1], train_eval_loss=loss),))


def test_the_pair_with_the_lowest_training_loss_is_chosen() -> None:
    configs = LINE.tuning()
    assert [(config.lr, config.decay) for config in configs] == [
        (0.1, 0.5), (1.0, 0.5), (10.0, 0.5), (0.1, 1.0), (1.0, 1.0), (10.0, 1.0),
    ]  # fmt: skip
    assert {config.epochs for config in configs} == {2} and {config.seed for config in configs} == {0}
    losses = (0.5, 0.2, None, 0.4, 0.3, None)
    runs = {
        config.key: ended(dataclasses.replace(record(), config=config), loss)
        for config, loss in zip(configs, losses, strict=True)
    }
    best = chosen(LINE, runs)
    assert best is not None and (best.config.lr, best.config.decay) == (1.0, 0.5)
    finals = LINE.runs(best.config)
    assert [(config.seed, config.epochs, config.lr, config.decay) for config in finals] == [
        (seed, 10, 1.0, 0.5) for seed in range(3)
    ]
    assert line_runs(LINE, runs) == ()
    runs[finals[2].key] = dataclasses.replace(record(), config=finals[2])
    assert [run.config.seed for run in line_runs(LINE, runs)] == [2]
    del runs[configs[5].key]
    assert chosen(LINE, runs) is None, "nothing is chosen from a part of a grid"
    every = {config.key: ended(dataclasses.replace(record(), config=config), None) for config in configs}
    assert chosen(LINE, every) is None


def test_a_line_without_a_rate_has_no_grid() -> None:
    line = Line("red-sgd", "red-sgd", Wish("digits-mlp", scale="small"))
    assert line.tuning() == () and not line.tuned
    assert line.runs() == tuple(run_config(line.wish, "red-sgd", None, seed) for seed in range(3))
