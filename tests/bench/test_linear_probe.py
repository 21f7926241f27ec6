"""Features of a frozen network: a folder of arrays or our own extractor's, views of an image in one batch."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from curvestep.bench.data.features import FEATURES_VARIABLE, FeatureSet, features, read_features
from curvestep.bench.errors import DataError, SettingError
from curvestep.bench.feeds.vectors import VectorFeed
from curvestep.bench.measure import smoothed_cross_entropy
from curvestep.bench.runner import run
from curvestep.bench.settings import Wish, run_config
from curvestep.bench.task import LoadRequest

REQUEST = LoadRequest(
    batch_size=6, train_size=None, seed=3, device=torch.device("cpu"), data_dir=None, augmented=False, window=None
)


def arrays(views: int = 3) -> dict[str, np.ndarray]:
    """Twenty images of seven classes, features of width five that say which image and view they are."""
    train = np.arange(20)[:, None, None] + 0.1 * np.arange(views)[None, :, None] + np.zeros((1, 1, 5))
    return {
        "train_features": train,
        "train_labels": np.arange(20) % 7,
        "test_features": np.ones((8, 5)),
        "test_labels": np.arange(8) % 7,
    }


def write(folder: Path, **changes: np.ndarray) -> Path:
    for name, array in {**arrays(), **changes}.items():
        np.save(folder / f"{name}.npy", array)
    return folder


def test_a_folder_of_features_is_read(tmp_path: Path) -> None:
    data = read_features(write(tmp_path))
    assert data.train_features.shape == (20, 3, 5) and (data.width, data.classes) == (5, 7)
    flat = read_features(write(tmp_path, train_features=arrays()["train_features"][:, 0]))
    assert torch.equal(flat.train_features, data.train_features[:, :1]) and flat.fingerprint != data.fingerprint


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"train_features": np.ones(20)},
            r"train_features.npy was expected to have the shape \(N, D\), or \(N, V, D\)",
        ),
        ({"train_features": np.ones((2, 2, 2, 2))}, r"it has \(2, 2, 2, 2\) of float64"),
        (
            {"test_features": np.ones((8, 4))},
            r"test_features.npy .* shape \(M, 5\), as wide as those of training; it has",
        ),
        ({"train_labels": np.arange(19)}, r"train_labels.npy .* shape \(20,\), a class number ≥ 0 for each row"),
        ({"test_labels": np.ones(8)}, r"test_labels.npy .* it has \(8,\) of float64"),
        ({"train_labels": np.arange(20) - 1}, "a class number ≥ 0"),
        ({"test_features": np.full((8, 5), np.nan)}, "test_features.npy has numbers that are not finite"),
    ],
)
def test_a_folder_of_a_wrong_shape_is_one_sentence(
    changes: dict[str, np.ndarray], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=sentence):
        read_features(write(tmp_path, **changes))


def test_a_folder_without_an_array(tmp_path: Path) -> None:
    (write(tmp_path) / "test_labels.npy").unlink()
    with pytest.raises(DataError, match=r"has no test_labels.npy; put train_features.npy, .* or leave out --features"):
        read_features(tmp_path)
    (tmp_path / "test_labels.npy").write_bytes(b"text")
    with pytest.raises(DataError, match=r"test_labels.npy is not an array of numpy \(.*\); write it with numpy.save"):
        read_features(tmp_path)


def loaded(tmp_path: Path, views: int = 3) -> FeatureSet:
    return read_features(write(tmp_path, **arrays(views)))


def test_repeated_augmentation_has_every_view_of_an_image_in_one_batch(tmp_path: Path) -> None:
    feed = VectorFeed.over(loaded(tmp_path), dataclasses.replace(REQUEST, augmented=True))
    batches = list(feed.epoch(0))
    assert len(batches) == feed.steps_per_epoch == 3
    for batch in batches:
        images = batch.inputs[:, 0].reshape(2, 3)
        torch.testing.assert_close(images - images[:, :1], torch.tensor([[0.0, 0.1, 0.2]] * 2), atol=1e-5, rtol=0)
        assert torch.equal(batch.targets, (images[:, :1].round().long() % 7).repeat(1, 3).flatten())


def test_plain_batches_have_the_first_view_once(tmp_path: Path) -> None:
    feed = VectorFeed.over(loaded(tmp_path), REQUEST)
    seen = torch.cat([batch.inputs[:, 0] for batch in feed.epoch(0)])
    assert len(set(seen.tolist())) == 18 and torch.equal(seen, seen.round())
    assert torch.equal(next(feed.evaluation("train")).inputs[:, 0], torch.arange(20.0))


def test_what_does_not_fit_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="Repeated augmentation needs several views of each image"):
        VectorFeed.over(loaded(tmp_path, views=1), dataclasses.replace(REQUEST, augmented=True))
    with pytest.raises(SettingError, match="A batch of 21 does not fit into 20 training examples"):
        VectorFeed.over(loaded(tmp_path), dataclasses.replace(REQUEST, batch_size=21))
    with pytest.raises(SettingError, match="A batch of 2 cannot hold the 3 views of an image"):
        VectorFeed.over(loaded(tmp_path), dataclasses.replace(REQUEST, batch_size=2, augmented=True))


def test_smoothed_cross_entropy_spreads_a_tenth() -> None:
    logits, classes = torch.randn(4, 5), torch.randint(0, 5, (4,))
    logs = logits.log_softmax(-1)
    spread = 0.9 * F.one_hot(classes, 5) + 0.1 / 5
    torch.testing.assert_close(smoothed_cross_entropy(logits, classes), -(spread * logs).sum(1).mean())


def test_the_network_follows_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FEATURES_VARIABLE, str(write(tmp_path)))
    wish = Wish("linear-probe", scale="small", steps=2, batch_size=6, subset=20)
    assert run(run_config(wish, "half-sgd", None, 0)).parameters == 6 * 7


def test_our_own_features_are_those_of_the_layer_before_the_last(data_folder: Path) -> None:
    """Standardised over the training images, three views of each, computed once and the same again."""
    data = features(data_folder)
    assert data.train_features.shape == (48, 3, 64) and data.test_features.shape == (20, 64)
    first = data.train_features[:, 0]
    torch.testing.assert_close(first.mean(0), torch.zeros(64), atol=1e-4, rtol=0)  # float32 over 48 rows
    assert not torch.equal(first, data.train_features[:, 1])
    assert torch.equal(features(data_folder).train_features, data.train_features)
