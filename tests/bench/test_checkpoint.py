"""A run that was stopped goes on from its last epoch, and ends where it would have ended."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from curvestep.bench.checkpoint import checkpoint_path, read_checkpoint, write_checkpoint
from curvestep.bench.config import RunConfig
from curvestep.bench.errors import StoreError, StoreWarning
from curvestep.bench.methods import METHODS
from curvestep.bench.record import RunRecord
from curvestep.bench.runner import Progress, run
from curvestep.bench.settings import Wish, run_config

WISH = Wish("digits-mlp", scale="small", epochs=3, subset=192, batch_size=64)


class Stopped(Exception):
    """What a kill is in a test."""


def config(method: str) -> RunConfig:
    return run_config(WISH, method, 1e-2 if METHODS[method].needs_lr else None, 0)


def stop_at(step: int):
    def listen(progress: Progress) -> None:
        if progress.measurement.step == step:
            raise Stopped

    return listen


def timeless(record: RunRecord) -> object:
    """A record without what no seed decides."""
    epochs = [dataclasses.replace(epoch, seconds=0.0) for epoch in record.epochs]
    return record.status, epochs, dataclasses.replace(record.samples, seconds=()), record.outcomes


@pytest.mark.parametrize("method", METHODS)
def test_a_stopped_run_ends_where_it_would_have_ended(method: str, tmp_path: Path) -> None:
    """To the last bit: 3 epochs of 3 steps, stopped inside the last one, so that two epochs are kept."""
    settings = config(method)
    path = checkpoint_path(tmp_path, settings.key)
    with pytest.raises(Stopped):
        run(settings, on_step=stop_at(8), checkpoint=path)
    steps: list[int] = []
    resumed = run(settings, on_step=lambda seen: steps.append(seen.measurement.step), checkpoint=path)
    assert steps == [7, 8, 9]
    assert timeless(resumed) == timeless(run(settings))


def test_a_memory_of_features_is_kept_too(tmp_path: Path, data_folder: Path) -> None:
    wish = Wish("cifar10-vgg11-memory", scale="tiny", epochs=3, batch_size=8, subset=24)
    settings = run_config(wish, "red-sgd", None, 0)
    path = checkpoint_path(tmp_path, settings.key)
    with pytest.raises(Stopped):
        run(settings, data_folder, on_step=stop_at(5), checkpoint=path)
    assert timeless(run(settings, data_folder, checkpoint=path)) == timeless(run(settings, data_folder))


def test_what_is_not_of_this_run_is_left_aside(tmp_path: Path) -> None:
    settings = config("sgd")
    path = checkpoint_path(tmp_path, settings.key)
    with pytest.raises(Stopped):
        run(settings, on_step=stop_at(5), checkpoint=path)
    state = torch.load(path, weights_only=True)
    whole = timeless(run(settings))
    for changes, why in (({"key": "other"}, "other settings"), ({"revision": "0"}, "another version of curvestep")):
        write_checkpoint(path, {**state, **changes})
        with pytest.warns(StoreWarning, match=f"left aside: it is of {why}. The run begins anew."):
            assert timeless(run(settings, checkpoint=path)) == whole
    path.write_bytes(b"torn")
    with pytest.warns(StoreWarning, match="left aside: it cannot be read"):
        assert read_checkpoint(path, settings.key, None) is None


def test_a_full_disk_is_a_sentence_and_leaves_the_last_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.part.pt"
    write_checkpoint(path, {"key": "first"})
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(StoreError, match=r"No space left on device\); what is in the store is kept. Make room"):
        write_checkpoint(path, {"key": "second"})
    assert path.read_bytes() == before and [each.name for each in tmp_path.iterdir()] == ["run.part.pt"]


def test_a_run_far_above_its_first_loss_is_given_up() -> None:
    settings = run_config(dataclasses.replace(WISH, epochs=20), "sgd", 10.0, 0)
    whole, short = run(settings), run(settings, give_up=1.5)
    assert whole.status == "finished" and short.status == "diverged" and short.diverged_at is not None
    losses = [ema for ema in whole.samples.loss_ema if ema is not None]
    assert len(losses) == 60, "every step is a sample"
    assert short.diverged_at == 1 + [ema > 1.5 * losses[0] for ema in losses].index(True)
