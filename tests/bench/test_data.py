"""Data sets: what is read, what is cached, and the sentence for each way in which a data folder can be wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from curvestep.bench.data.cache import cache_dir
from curvestep.bench.data.digits import digits
from curvestep.bench.data.images import cifar10, mnist
from curvestep.bench.data.text import tinyshakespeare
from curvestep.bench.errors import CacheWarning, DataError
from tests.bench.synthetic import write_images, write_text


def test_images_are_uint8_in_channel_order(data_folder: Path) -> None:
    grey, colour = mnist(data_folder), cifar10(data_folder)
    assert grey.train_images.shape == (48, 1, 28, 28) and grey.test_images.shape == (20, 1, 28, 28)
    assert colour.train_images.shape == (48, 3, 32, 32) and colour.test_labels.shape == (20,)
    assert grey.train_images.dtype == colour.train_images.dtype == torch.uint8
    assert colour.train_labels.tolist() == [index % 10 for index in range(48)]


def test_pixels_survive_the_file_format(tmp_path: Path) -> None:
    import numpy as np

    write_images(tmp_path, "cifar10", "img", "RGB", 32, {"train": 1, "test": 1})
    # The first image that the writer drew: the same generator, seed and shape.
    expected = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert torch.equal(cifar10(tmp_path).train_images[0], torch.from_numpy(expected).permute(2, 0, 1))


def test_text_is_numbered_by_sorted_characters(data_folder: Path) -> None:
    corpus = tinyshakespeare(data_folder, 65)
    text = (data_folder / "tinyshakespeare" / "input.txt").read_text()
    assert "".join(corpus.vocabulary[token] for token in corpus.tokens.tolist()) == text
    assert corpus.vocabulary == "".join(sorted(set(text)))


def test_digits_need_no_folder() -> None:
    data = digits()
    assert data.train_images.shape == (1437, 1, 8, 8) and data.test_images.shape == (360, 1, 8, 8)
    assert int(data.train_images.max()) == 16
    assert sorted(set(data.test_labels.tolist())) == list(range(10))


def test_folder_from_the_environment(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURVESTEP_DATA", str(data_folder))
    assert mnist(None).fingerprint == mnist(data_folder).fingerprint


def test_second_read_comes_from_the_cache(tmp_path: Path) -> None:
    write_text(tmp_path)
    first = tinyshakespeare(tmp_path, 65)
    (cached,) = cache_dir().iterdir()
    stamp = cached.stat().st_mtime_ns
    assert torch.equal(tinyshakespeare(tmp_path, 65).tokens, first.tokens)
    assert cached.stat().st_mtime_ns == stamp


def test_changed_source_is_read_again(tmp_path: Path) -> None:
    write_text(tmp_path)
    first = tinyshakespeare(tmp_path, 65)
    path = tmp_path / "tinyshakespeare" / "input.txt"
    path.write_text(path.read_text()[::-1])
    second = tinyshakespeare(tmp_path, 65)
    assert second.fingerprint != first.fingerprint
    assert torch.equal(second.tokens, first.tokens.flip(0))


@pytest.mark.parametrize("content", [b"", b"no tensors", None], ids=["empty", "foreign", "truncated"])
def test_broken_cache_is_made_again(tmp_path: Path, content: bytes | None) -> None:
    write_text(tmp_path)
    first = tinyshakespeare(tmp_path, 65)
    (cached,) = cache_dir().iterdir()
    cached.write_bytes(cached.read_bytes()[:1000] if content is None else content)
    with pytest.warns(CacheWarning, match="tinyshakespeare was broken and is made again"):
        assert torch.equal(tinyshakespeare(tmp_path, 65).tokens, first.tokens)
    assert torch.equal(tinyshakespeare(tmp_path, 65).tokens, first.tokens)
    assert len(list(cache_dir().iterdir())) == 1


def test_unwritable_cache_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path)
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("CURVESTEP_CACHE", str(tmp_path / "file"))
    with pytest.warns(CacheWarning, match="could not be cached .*CURVESTEP_CACHE"):
        assert len(tinyshakespeare(tmp_path, 65).tokens) == 6000


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere given by --data-dir or CURVESTEP_DATA does not exist; give one"):
        mnist(tmp_path / "nowhere")


def test_folder_without_the_data_set(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no mnist/train-\*.parquet; put mnist there, or leave out"):
        mnist(tmp_path)


def test_folder_with_half_a_data_set(data_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mnist").mkdir()
    name = "train-00000-of-00001.parquet"
    shutil.copy(data_folder / "mnist" / name, tmp_path / "mnist" / name)
    with pytest.raises(DataError, match=r"has no mnist/test-\*.parquet"):
        mnist(tmp_path)


@pytest.mark.parametrize("kept", [0, 500, -100], ids=["empty", "start", "without end"])
def test_broken_parquet(data_folder: Path, tmp_path: Path, kept: int) -> None:
    shutil.copytree(data_folder / "mnist", tmp_path / "mnist")
    path = tmp_path / "mnist" / "train-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DataError, match=r"The local copy of mnist is broken \(.+\); copy it again"):
        mnist(tmp_path)
    assert not cache_dir().exists()


def test_wrong_columns(tmp_path: Path) -> None:
    write_images(tmp_path, "mnist", "img", "L", 28, {"train": 1, "test": 1})
    with pytest.raises(DataError, match=r"columns 'image' and 'label', its train part has \['img', 'label'\]"):
        mnist(tmp_path)


def test_wrong_size(tmp_path: Path) -> None:
    write_images(tmp_path, "mnist", "image", "L", 8, {"train": 1, "test": 1})
    with pytest.raises(DataError, match=r"images of 28×28, one has 8×8"):
        mnist(tmp_path)


def test_another_text(tmp_path: Path) -> None:
    write_text(tmp_path, characters=20)
    with pytest.raises(DataError, match=r"65 different characters, this text has 20"):
        tinyshakespeare(tmp_path, 65)


def test_hub_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def unreachable(name: str, revision: str | None) -> None:
        raise ConnectionError(f"Couldn't reach {name!r} on the Hub")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    sentence = r"mnist could not be read from the hub as 'ylecun/mnist' \(.+\); check the network, or give a folder"
    with pytest.raises(DataError, match=sentence):
        mnist(None)


def test_hub_and_folder_give_the_same_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    text = write_text(tmp_path)

    def hub(name: str, revision: str | None) -> dict[str, datasets.Dataset]:
        assert (name, revision) == ("karpathy/tiny_shakespeare", "refs/convert/parquet")
        parts = {"train": text[:5000], "validation": text[5000:5500], "test": text[5500:]}
        return {split: datasets.Dataset.from_dict({"text": [part]}) for split, part in parts.items()}

    local = tinyshakespeare(tmp_path, 65)
    monkeypatch.setattr(datasets, "load_dataset", hub)
    assert torch.equal(tinyshakespeare(None, 65).tokens, local.tokens)


@pytest.mark.data("mnist", "tinyshakespeare")
@pytest.mark.slow
def test_real_data(data_dir: Path) -> None:
    images = mnist(data_dir)
    assert images.train_images.shape == (60_000, 1, 28, 28) and images.test_images.shape == (10_000, 1, 28, 28)
    # Number of each class in MNIST's training part, as published.
    assert images.train_labels.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert len(tinyshakespeare(data_dir, 65).tokens) == 1_115_394
