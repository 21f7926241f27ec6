"""Small stand-ins for data sets and runs, made from seeds and written in the real formats."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import numpy as np

from curvestep.bench.config import RunConfig
from curvestep.bench.record import DIVERGED, FINISHED, EpochMetrics, RunRecord, StepSamples

CONFIG = RunConfig(task="digits-mlp", method="sgd", scale="paper", seed=0, epochs=3, batch_size=128, lr=0.1)


def record(
    method: str = "sgd",
    lr: float | None = 0.1,
    seed: int = 0,
    *,
    task: str = "digits-mlp",
    final: float = 0.01,
    accuracy: float | None = 0.9,
    diverged_at: int | None = None,
) -> RunRecord:
    """A run whose training loss falls geometrically from 2 to ``final`` over three epochs of ten steps."""
    steps = 30 if diverged_at is None else diverged_at
    numbers = range(1, steps + 1)
    loss = [2.0 * (final / 2.0) ** ((step - 1) / 29) for step in numbers]
    if diverged_at is not None:
        loss[-1] = float("inf")
    epochs = tuple(
        EpochMetrics(
            epoch=float(epoch),
            step=10 * epoch,
            seconds=0.1 * epoch,
            train_loss=loss[10 * epoch - 1],
            train_eval_loss=loss[10 * epoch - 1],
            test_loss=1.1 * loss[10 * epoch - 1],
            test_accuracy=accuracy,
            step_size=0.1,
        )
        for epoch in range(1, 4)
        if 10 * epoch < steps or (10 * epoch == steps and diverged_at is None)
    )
    measured = method.startswith("r")
    return RunRecord(
        config=dataclasses.replace(CONFIG, task=task, method=method, lr=lr, seed=seed),
        status=FINISHED if diverged_at is None else DIVERGED,
        diverged_at=diverged_at,
        smoothing=0.95,
        epochs=epochs,
        samples=StepSamples(
            step=tuple(numbers),
            epoch=tuple(step / 10 for step in numbers),
            seconds=tuple(step / 100 for step in numbers),
            loss=tuple(loss),
            loss_ema=tuple(loss),
            step_size=tuple(0.1 * step for step in numbers),
            step_size_ema=tuple(0.1 * step for step in numbers),
            slope=tuple(1.0 if measured else None for _ in numbers),
            curvature=tuple(2.0 if measured else None for _ in numbers),
        ),
        outcomes={"TAKEN": steps} if measured else {},
        step_seconds=0.01,
        parameters=6570,
        data="synthetic",
        revision=None,
        environment={"torch": "2.13.0"},
    )


def write_images(
    folder: Path, name: str, column: str, mode: str, size: int, counts: dict[str, int], label: str = "label"
) -> None:
    """Random images with ten classes as the parquet files that the hub's copies consist of."""
    import datasets
    from PIL import Image

    generator = np.random.default_rng(0)
    (folder / name).mkdir(parents=True)
    for split, count in counts.items():
        shape = (size, size) if mode == "L" else (size, size, 3)
        images = [Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8), mode) for _ in range(count)]
        features = datasets.Features({column: datasets.Image(), label: datasets.Value("int64")})
        table = datasets.Dataset.from_dict(
            {column: images, label: [index % 10 for index in range(count)]}, features=features
        )
        table.to_parquet(str(folder / name / f"{split}-00000-of-00001.parquet"))


def write_text(folder: Path, characters: int = 65, length: int = 6000) -> str:
    """A random text with exactly this many different characters, line ends among them."""
    alphabet = ["\n", " ", *(chr(code) for code in range(ord("A"), ord("A") + characters - 2))]
    generator = random.Random(0)
    text = "".join([*alphabet, *generator.choices(alphabet, k=length - characters)])
    (folder / "tinyshakespeare").mkdir(parents=True)
    (folder / "tinyshakespeare" / "input.txt").write_text(text)
    return text


def write_data(folder: Path) -> Path:
    """A data folder with all data sets, a few dozen examples each."""
    write_images(folder, "mnist", "image", "L", 28, {"train": 48, "test": 20})
    write_images(folder, "cifar10", "img", "RGB", 32, {"train": 48, "test": 20})
    write_images(folder, "cifar100", "img", "RGB", 32, {"train": 48, "test": 20}, label="fine_label")
    write_text(folder)
    return folder
