"""Peaks and times of recorded steps under each way of holding a recording."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor
from torch.nn import functional as F

import curvestep
from benchmarks.memory.row import MODES, MemoryKey, MemoryRow
from benchmarks.overhead.profile import peak_bytes
from curvestep.bench.allocator import keep_freed_memory
from curvestep.bench.execute import torch_threads
from curvestep.bench.store import Store
from curvestep.bench.tasks import get_task

REPEATS = 5


@final
@dataclass(frozen=True)
class Network:
    """A network with a batch to measure on."""

    name: str
    parameters: list[Tensor]
    loss: Callable[[], Tensor]


def networks() -> list[Network]:
    """The networks of the tasks at the paper's width, with batches that a laptop holds."""
    torch.manual_seed(0)

    def classifier(task: str, name: str, scale: str, inputs: Tensor, classes: int) -> Network:
        network = get_task(task).scales[scale].network.build()
        targets = torch.randint(0, classes, inputs.shape[:1] if inputs.is_floating_point() else inputs.shape)
        return Network(
            name, list(network.parameters()), lambda: F.cross_entropy(network(inputs).flatten(0, -2), targets.flatten())
        )

    return [
        classifier("mnist-lenet", "dense LeNet, batch 256", "paper", torch.randn(256, 784), 10),
        classifier("cifar10-vgg11", "VGG11, batch 64", "paper", torch.randn(64, 3, 32, 32), 10),
        classifier("shakespeare-gpt", "GPT 4×128, batch 32×128", "paper", torch.randint(0, 65, (32, 128)), 65),
    ]


def measure(network: Network) -> list[MemoryRow]:
    """Peaks and times of one network in every mode."""

    def clear() -> None:
        for p in network.parameters:
            p.grad = None

    def plain() -> None:
        network.loss().backward()
        clear()

    sources: dict[str, str] = {}

    def recorded(mode: str, share: Literal["keep", "split"] | float) -> Callable[[], None]:
        def run() -> None:
            with curvestep.record(memory=share) as tape:
                network.loss().backward()
            # the gradient as direction: what an optimizer measures along
            direction = [p.grad for p in network.parameters if p.grad is not None]
            sources[mode] = tape.curvature(network.parameters, direction).source
            tape.release()
            clear()

        return run

    runs = {"plain": plain, **{mode: recorded(mode, share) for mode, share in MODES}}
    seconds: dict[str, list[float]] = {mode: [] for mode in runs}
    for _ in range(REPEATS):
        for mode, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[mode].append(time.perf_counter() - start)
    peaks = {mode: peak_bytes(run) for mode, run in runs.items()}
    base = statistics.median(seconds["plain"])
    return [
        MemoryRow(
            network.name,
            mode,
            peaks[mode] / peaks["plain"],
            statistics.median(seconds[mode]) / base,
            sources[mode],
            torch.__version__,
        )
        for mode, _ in MODES
    ]


def measure_missing(store: Store[MemoryRow], *, afresh: bool) -> None:
    """Measure the networks of which the store lacks a row, on one thread."""
    keep_freed_memory()
    held = frozenset() if afresh else store.keys()
    with torch_threads(1):
        for network in networks():
            if any(MemoryKey(network.name, mode) not in held for mode, _ in MODES):
                store.append(*measure(network))
