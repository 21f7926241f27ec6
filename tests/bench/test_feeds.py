"""Feeds: every example once an epoch, orders from the seed alone, scaling and windows as defined."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from curvestep.bench.data.digits import digits
from curvestep.bench.data.text import TextCorpus
from curvestep.bench.errors import SettingError
from curvestep.bench.feeds.augment import crop_and_flip, rotated, rotated_at_random
from curvestep.bench.feeds.examples import ExampleFeed, standardised, unit_range
from curvestep.bench.feeds.windows import WindowFeed
from curvestep.bench.task import LoadRequest

REQUEST = LoadRequest(
    batch_size=100,
    train_size=None,
    seed=3,
    device=torch.device("cpu"),
    data_dir=None,
    augmented=False,
    window=None,
)


def feed(**changes: int) -> ExampleFeed:
    return ExampleFeed.classes(digits(), standardised, dataclasses.replace(REQUEST, **changes))


def test_epoch_has_each_example_at_most_once_in_full_batches() -> None:
    batches = list(feed().epoch(0))
    assert [len(batch.inputs) for batch in batches] == [100] * 14
    labels = torch.cat([batch.targets for batch in batches])
    all_labels = digits().train_labels.bincount()
    assert bool((labels.bincount(minlength=10) <= all_labels).all())
    # 1,437 examples, of which the last 37 of the order fill no batch.
    assert len(labels) == 1400


def test_order_depends_on_seed_and_epoch_alone() -> None:
    first = [batch.targets for batch in feed().epoch(1)]
    again = feed()
    list(again.epoch(0))
    assert all(torch.equal(a.targets, b) for a, b in zip(again.epoch(1), first, strict=True))
    assert not all(torch.equal(a.targets, b) for a, b in zip(feed().epoch(2), first, strict=True))
    assert not all(torch.equal(a.targets, b) for a, b in zip(feed(seed=4).epoch(1), first, strict=True))


def test_order_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    list(feed().epoch(0))
    assert torch.equal(torch.rand(3), expected)


def test_standardised_training_images_have_mean_0_and_deviation_1() -> None:
    images = torch.randint(0, 256, (50, 3, 8, 8), dtype=torch.uint8)
    scaled = standardised(images)(images).double()
    # float32 keeps 7 digits of the scaled values; their mean over 3,200 pixels keeps at least as many.
    torch.testing.assert_close(scaled.mean(dim=(0, 2, 3)), torch.zeros(3).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(scaled.std(dim=(0, 2, 3), correction=0), torch.ones(3).double(), atol=1e-6, rtol=0)


def test_constant_channel_stays_finite() -> None:
    images = torch.full((4, 1, 8, 8), 7, dtype=torch.uint8)
    assert torch.equal(standardised(images)(images), torch.zeros(4, 1, 8, 8))


def test_reconstruction_targets_are_the_inputs() -> None:
    batch = next(ExampleFeed.reconstruction(digits(), unit_range, REQUEST).epoch(0))
    assert torch.equal(batch.targets, batch.inputs.flatten(1))
    assert float(batch.inputs.max()) == pytest.approx(16 / 255)


def test_subset_cuts_training_and_test_examples() -> None:
    small = feed(train_size=200)
    assert small.steps_per_epoch == 2
    assert sum(len(batch.inputs) for batch in small.evaluation("train")) == 200
    assert sum(len(batch.inputs) for batch in small.evaluation("test")) == 200
    assert sum(len(batch.inputs) for batch in feed().evaluation("test")) == 360


def test_subset_and_batch_that_do_not_fit() -> None:
    with pytest.raises(SettingError, match="--subset 2000 asks for more than the 1437"):
        feed(train_size=2000)
    with pytest.raises(SettingError, match="A batch of 100 does not fit into 50"):
        feed(train_size=50)


def test_crop_and_flip_is_a_shift_and_a_mirror() -> None:
    # Each pixel has its own value, so that every output pixel says where it comes from.
    image = torch.arange(1, 65, dtype=torch.uint8).reshape(1, 1, 8, 8)
    images = image.repeat(200, 1, 1, 1)
    results = crop_and_flip(images, torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(image, (4, 4, 4, 4))[0, 0]
    wanted = {}
    for row in range(9):
        for column in range(9):
            cut = padded[row : row + 8, column : column + 8]
            wanted[cut.numpy().tobytes()] = (row, column, False)
            wanted[cut.flip(1).numpy().tobytes()] = (row, column, True)
    seen = {wanted[result[0].contiguous().numpy().tobytes()] for result in results}
    # 200 draws out of 162 equally likely results miss all flips, or all but one offset, with probability < 1e-30.
    assert {flipped for _, _, flipped in seen} == {True, False}
    assert len({row for row, _, _ in seen}) > 1 and len({column for _, column, _ in seen}) > 1


def test_crop_and_flip_keeps_channels_together() -> None:
    image = torch.arange(64, dtype=torch.float32).reshape(1, 1, 8, 8)
    coloured = torch.cat([image, image + 100], dim=1).repeat(20, 1, 1, 1)
    red, green = crop_and_flip(coloured, torch.Generator().manual_seed(1)).unbind(1)
    inside = green != 0
    assert torch.equal(green[inside], red[inside] + 100)


def corpus(length: int = 2000) -> TextCorpus:
    return TextCorpus("synthetic", (torch.arange(length) % 250).to(torch.uint8), "")


def windows(**changes: int | None) -> WindowFeed:
    return WindowFeed.over(corpus(), dataclasses.replace(REQUEST, **{"batch_size": 8, "window": 16, **changes}))


def test_targets_are_the_next_characters() -> None:
    batches = list(windows().epoch(0))
    assert len(batches) == 50
    for batch in batches:
        assert batch.inputs.shape == batch.targets.shape == (8, 16)
        assert torch.equal((batch.inputs + 1) % 250, batch.targets)


def test_last_tenth_is_held_out() -> None:
    feed = windows()
    assert torch.equal(feed.train, corpus().tokens[:1800]) and torch.equal(feed.test, corpus().tokens[1800:])
    held_out = [batch.inputs for batch in feed.evaluation("test")]
    assert all(torch.equal(a, b.inputs) for a, b in zip(held_out, feed.evaluation("test"), strict=True))


@pytest.mark.parametrize("size", [31, 1801])
def test_text_subset_out_of_range(size: int) -> None:
    with pytest.raises(SettingError, match="must lie between 32 and 1800"):
        windows(train_size=size)


def test_text_without_window() -> None:
    with pytest.raises(SettingError, match="needs the length of its windows"):
        windows(window=None)


def test_feeds_say_which_data_they_are(data_folder: Path) -> None:
    from curvestep.bench.tasks import TASKS

    request = dataclasses.replace(REQUEST, batch_size=4, data_dir=data_folder, window=16)
    prints = {name: task.load(request).fingerprint for name, task in TASKS.items()}
    assert prints["mnist-lenet"] == prints["mnist-autoencoder"]
    assert prints["cifar100-vgg19"] != prints["linear-probe"] == prints["linear-probe-tricks"]
    assert len(set(prints.values())) == 6


def test_a_quarter_turn_is_that_of_rot90() -> None:
    images = torch.randint(0, 256, (2, 3, 6, 6), dtype=torch.uint8)
    for quarters in (1, 2, 3, -1):
        # cos 90° is 4e-8 in float32, which moves the place of reading and so the value by as much times 255.
        torch.testing.assert_close(
            rotated(images, 90.0 * quarters), images.rot90(quarters, (2, 3)).float(), atol=1e-3, rtol=0
        )
    assert torch.equal(rotated(images, 720.0), images.float())


def test_a_random_rotation_turns_each_image_by_an_angle_of_its_own() -> None:
    images = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)
    angles = 30.0 * torch.rand(4, generator=torch.Generator().manual_seed(5)) - 15.0
    turned = rotated_at_random(images, 15.0, torch.Generator().manual_seed(5))
    for index, angle in enumerate(angles.tolist()):
        # the angle in float32, times 255 and the slope of the image between two pixels
        torch.testing.assert_close(
            turned[index : index + 1], rotated(images[index : index + 1], angle), atol=1e-2, rtol=0
        )
    assert len(set(angles.tolist())) == 4 and float(angles.abs().max()) <= 15.0


def test_cifar100_is_turned_in_training_alone(data_folder: Path) -> None:
    from curvestep.bench.tasks import get_task

    task = get_task("cifar100-vgg19")
    plain = dataclasses.replace(REQUEST, batch_size=16, data_dir=data_folder)
    assert getattr(task.load(plain), "rotation") == 0.0  # noqa: B009 - a feed of another kind has none
    augmented = task.load(dataclasses.replace(plain, augmented=True))
    first, again = (next(augmented.epoch(0)).inputs for _ in range(2))
    assert torch.equal(first, again)
    still = dataclasses.replace(augmented, rotation=0.0)  # pyright: ignore[reportArgumentType]
    assert not torch.equal(first, next(still.epoch(0)).inputs)
    assert torch.equal(next(augmented.evaluation("train")).inputs, next(task.load(plain).evaluation("train")).inputs)


def test_the_last_feed_is_given_again_with_another_seed(data_folder: Path) -> None:
    from curvestep.bench.feeds.last import LastFeed
    from curvestep.bench.tasks import TASKS

    kept = LastFeed()
    for name in ("digits-mlp", "mnist-lenet", "shakespeare-gpt"):
        for seed in (3, 4):
            request = dataclasses.replace(REQUEST, batch_size=4, data_dir=data_folder, window=16, seed=seed)
            own, fresh = kept.load(TASKS[name], request), TASKS[name].load(request)
            assert own.fingerprint == fresh.fingerprint
            assert torch.equal(next(own.epoch(1)).inputs, next(fresh.epoch(1)).inputs)
