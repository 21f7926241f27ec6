"""The errors of a measurement in each setting, against the same network in float64."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor

from benchmarks.precision.row import NORMS, SEEDS, PrecisionKey, PrecisionRow
from benchmarks.precision.subjects import BUILDS, Subject, subject
from curvestep.bench.environment import environment
from curvestep.bench.store import Store


@final
@dataclass(frozen=True)
class Setting:
    """A way of recording and measuring.

    Attributes:
        name: in the table.
        autocast: 16-bit dtype of the forward, None for none.
        record: arguments of `curvestep.record`.
        options: arguments of `Tape.curvature`.
        truth: those of them that also hold for the float64 measurement.
        only: the kind of device that it is for, None for any.
    """

    name: str
    autocast: torch.dtype | None = None
    record: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    truth: Mapping[str, Any] = field(default_factory=dict)
    only: str | None = None

    def suits(self, name: str, device: str) -> bool:
        """Whether there is such a measurement: fused LSTMs on a CPU have no float16, batch norm mixes samples."""
        if self.only not in (None, device):
            return False
        if name == "LSTM" and self.autocast is torch.float16 and device == "cpu":
            return False
        return not (name.startswith("BatchNorm") and "samples" in self.options)


_QUARTER = {"samples": 0.25}
SETTINGS = (
    Setting("float32, three products", record={"products": "naive"}),
    Setting("float32, two products", record={"products": "polarised"}),
    Setting("float32, split", record={"memory": "split"}),
    Setting("float32, taylor", options={"form": "taylor"}),
    Setting("float32, ggn", options={"kind": "ggn"}, truth={"kind": "ggn"}),
    Setting("float32, ¼ of the samples", options=_QUARTER, truth=_QUARTER),
    Setting('float32, "tf32"', options={"precision": "tf32"}, only="cuda"),
    Setting('float32, "bfloat16"', options={"precision": "bfloat16"}),
    Setting('bfloat16 autocast, "recorded"', torch.bfloat16),
    Setting('bfloat16 autocast, "float32"', torch.bfloat16, options={"precision": "float32"}),
    Setting('float16 autocast, "recorded"', torch.float16),
    Setting('float16 autocast, "float32"', torch.float16, options={"precision": "float32"}),
)


def errors(
    one: Subject, setting: Setting, norm: float, truth: tuple[Tensor, Tensor], device: str = "cpu"
) -> tuple[float, float, float]:
    """Errors of one measurement, as in `PrecisionRow`."""
    ways = (setting.options, {**setting.options, "precision": "float64"})
    (found, total), (rounded, _) = one.curvature(
        norm, autocast=setting.autocast, device=device, record=setting.record, options=ways
    )
    exact, mean = truth
    largest = exact.abs().max()
    sample, own = (found - exact).abs().max() / largest, (found - rounded).abs().max() / largest
    return sample.item(), ((total - mean).abs() / exact.abs().mean()).item(), own.item()


def measure_missing(store: Store[PrecisionRow], *, afresh: bool) -> None:
    """Measure what the store lacks, a row at a time, on the accelerator if there is one."""
    here = environment("cuda" if torch.cuda.is_available() else "cpu")
    device = "cpu" if here["accelerator"] is None else "cuda"
    machine = f"torch {here['torch']} on {here['accelerator'] or here['processor']}"
    held = frozenset() if afresh else store.keys()
    for name in BUILDS:
        subjects = [subject(name, seed) for seed in range(SEEDS)]
        for setting in SETTINGS:
            norms = [norm for norm in NORMS if PrecisionKey(name, setting.name, norm) not in held]
            if not norms or not setting.suits(name, device):
                continue
            truths = [one.curvature(1.0, dtype=torch.float64, options=[setting.truth])[0] for one in subjects]
            for norm in norms:
                found = [errors(one, setting, norm, t, device) for one, t in zip(subjects, truths, strict=True)]
                worst = [max(each) for each in zip(*found, strict=True)]
                store.append(PrecisionRow(name, setting.name, norm, *worst, measured_with=machine))
