"""Measure the rounding error of curvature in every setting of speed and precision, and write the table of the docs.

`python -m curvestep.bench.precision` measures, then writes docs/precision.json and docs/precision.md; with `--render`
it only writes the table again, from the committed numbers.
"""

from __future__ import annotations

import argparse
import copy
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import curvestep
from curvestep.bench.environment import environment
from curvestep.bench.networks.gpt import GPT
from curvestep.bench.networks.lstm import CharacterLSTM
from curvestep.bench.networks.vit import ViT

DOCUMENT = Path("docs/precision.md")
NORMS = (1e-8, 1.0, 1e4)
SEEDS = 3


@final
@dataclass(frozen=True)
class Subject:
    """A network, its batch and a direction of its parameters, all in float32 on the CPU."""

    net: nn.Module
    inputs: Tensor
    targets: Tensor
    direction: list[Tensor]

    def curvature(
        self,
        norm: float,
        *,
        dtype: torch.dtype = torch.float32,
        autocast: torch.dtype | None = None,
        device: str = "cpu",
        record: Mapping[str, Any] | None = None,
        options: Sequence[Mapping[str, Any]] = ({},),
    ) -> list[tuple[Tensor, Tensor]]:
        """Curvature per squared length along the direction, measured in several ways on one recording.

        Args:
            norm: length of the direction, above 0.
            dtype: of the parameters.
            autocast: 16-bit dtype of the forward, None for none.
            device: where to compute.
            record: arguments of `curvestep.record`.
            options: arguments of `Tape.curvature`, once for each way.

        Returns:
            Curvature of each sample and of the mean, in float64.
        """
        net = copy.deepcopy(self.net).to(device, dtype)
        inputs = self.inputs.to(device)
        inputs = inputs.to(dtype) if inputs.is_floating_point() else inputs
        parameters = list(net.parameters())
        own = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(d.double()) for d in self.direction]))
        direction = [(d.double() * (norm / own)).to(device, dtype) for d in self.direction]
        with curvestep.record(**(record or {})) as tape:
            with torch.autocast(device, autocast or torch.bfloat16, enabled=autocast is not None):
                loss = F.cross_entropy(net(inputs).flatten(0, -2), self.targets.to(device).flatten())
            loss.backward()
        # the length that the direction has after rounding, so that only the error of the measurement is left
        length = sum(float(d.double().square().sum()) for d in direction)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The curvature of a part of the batch", UserWarning)
            found = [tape.curvature(parameters, direction, **each) for each in options]
        tape.release()
        return [
            (one.per_sample.double().cpu() / length, one.total.double().cpu() / length)
            for one in found
            if one.per_sample is not None
        ]


def _images(side: int) -> tuple[Tensor, Tensor]:
    return torch.randn(32, 3, side, side), torch.randint(0, 10, (32,))


def _tokens() -> tuple[Tensor, Tensor]:
    tokens = torch.randint(0, 31, (16, 17))
    return tokens[:, :-1], tokens[:, 1:]


def _dense() -> tuple[nn.Module, Tensor, Tensor]:
    layers = [nn.Linear(64, 128), nn.Softplus(), nn.Linear(128, 128), nn.Softplus(), nn.Linear(128, 10)]
    return nn.Sequential(*layers), torch.randn(64, 64), torch.randint(0, 10, (64,))


def _convolutional(activation: Callable[[], nn.Module], pool: nn.Module) -> nn.Module:
    def step(inside: int, out: int) -> list[nn.Module]:
        return [nn.Conv2d(inside, out, 3, padding=1), activation()]

    head = [nn.Flatten(), nn.Linear(512, 64), activation(), nn.Linear(64, 10)]
    return nn.Sequential(*step(3, 16), pool, *step(16, 32), *step(32, 32), pool, *head)


def _normalised() -> nn.Module:
    def step(inside: int, out: int) -> list[nn.Module]:
        return [nn.Conv2d(inside, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.SiLU()]

    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)]
    return nn.Sequential(*step(3, 16), *step(16, 16), nn.AvgPool2d(2), *step(16, 32), *head)


BUILDS: dict[str, Callable[[], tuple[nn.Module, Tensor, Tensor]]] = {
    "dense, softplus": _dense,
    "VGG, softplus, average pool": lambda: (_convolutional(nn.Softplus, nn.AvgPool2d(2)), *_images(16)),
    "VGG, ReLU, max pool": lambda: (_convolutional(nn.ReLU, nn.MaxPool2d(2)), *_images(16)),
    "BatchNorm, SiLU": lambda: (_normalised(), *_images(8)),
    "GPT": lambda: (GPT(vocabulary=31, context=16, blocks=2, width=32, heads=2), *_tokens()),
    "ViT": lambda: (ViT(size=8, channels=3, patch=4, blocks=2, width=32, heads=2, classes=10), *_images(8)),
    "LSTM": lambda: (CharacterLSTM(vocabulary=31, width=24, layers=2), *_tokens()),
}


def subject(name: str, seed: int) -> Subject:
    """A network of `BUILDS` with random weights, data and direction."""
    torch.manual_seed(seed)
    net, inputs, targets = BUILDS[name]()
    return Subject(net, inputs, targets, [torch.randn_like(p) for p in net.parameters()])


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


@final
@dataclass(frozen=True)
class Line:
    """The largest errors of one network in one setting at one length of the direction.

    Attributes:
        network: its name.
        setting: name of the `Setting`.
        norm: length of the direction.
        sample: largest |q_s − exact| over the largest |q_s|.
        total: |q − exact| over the mean |q_s|.
        own: as `sample`, against the same recording measured in float64: the rounding of the pass alone.
    """

    network: str
    setting: str
    norm: float
    sample: float
    total: float
    own: float


def errors(
    one: Subject, setting: Setting, norm: float, truth: tuple[Tensor, Tensor], device: str = "cpu"
) -> tuple[float, float, float]:
    """Errors of one measurement, as in `Line`."""
    ways = (setting.options, {**setting.options, "precision": "float64"})
    (found, total), (rounded, _) = one.curvature(
        norm, autocast=setting.autocast, device=device, record=setting.record, options=ways
    )
    exact, mean = truth
    largest = exact.abs().max()
    sample, own = (found - exact).abs().max() / largest, (found - rounded).abs().max() / largest
    return sample.item(), ((total - mean).abs() / exact.abs().mean()).item(), own.item()


def lines(device: str) -> Iterator[Line]:
    """All measurements."""
    for name in BUILDS:
        subjects = [subject(name, seed) for seed in range(SEEDS)]
        for setting in SETTINGS:
            if not setting.suits(name, device):
                continue
            truths = [one.curvature(1.0, dtype=torch.float64, options=[setting.truth])[0] for one in subjects]
            for norm in NORMS:
                found = [errors(one, setting, norm, t, device) for one, t in zip(subjects, truths, strict=True)]
                yield Line(name, setting.name, norm, *(max(each) for each in zip(*found, strict=True)))


_TEXT = """# Rounding errors of the curvature

Three relative errors of the curvature along a random direction, at three lengths of the direction, each the largest of
{seeds} seeds: of a sample, against the same net in float64; of the mean over the batch, likewise; of a sample, against
the same recording measured in float64, which is the rounding of the pass alone. Errors of samples are over the largest
curvature of a sample, those of the mean over the mean absolute one. Generated by `python -m curvestep.bench.precision`.

`Tape.curvature(precision=…)`, or `curvature_precision=…` of the rescaled optimizers, says in which dtype tangents are
carried and multiplied:

| precision | tangents and products | for |
|---|---|---|
| `"recorded"` | the dtype of each tensor | whatever runs; under autocast at the cost of autocast |
| `"float32"` | float32, what was recorded in 16 bits is read so | training in 16 bits, with none added by the pass |
| `"float64"` | float64, whatever was recorded is read so | a truth for the rounding of the pass |
| `"bfloat16"` | bfloat16; sums, normalisations, softmax, losses in float32 | training in float32, with a cheaper pass |
| `"tf32"` | as `"float32"`, products in TensorFloat-32 | the same, on NVIDIA GPUs from Ampere on; elsewhere: float32 |

What the numbers say:

* In float32 every setting keeps the digits of float32, at every length of the direction: two products as well as three,
  values computed again, terms carried to the loss, and parts of the batch. A kink may be passed on the other side in
  float32 than in float64 already, which is an error of the forward alone (VGG with ReLU).
* bfloat16 has 8 bits. Its errors are random and differ from term to term, so that most of them cancel in sums: what is
  left is about one per cent of the largest curvature at most, and less in the mean. A step size needs no more.
* Under autocast the forward and backward are rounded too, and this part stays with float32 tangents. Where the net has
  kinks it is by far the larger one: in 16 bits some units of a ReLU, and some maxima of a pool, fall to the other side,
  and what is measured is the net that was run.
* float16 ends at 65,504 and at 6·10⁻⁸, a range that products of two tangents leave at lengths like 10⁻⁸ or 10⁴. A pass
  in it measures along the direction times a power of two of length ½ to 1, and the result is divided by its square. A
  net whose gradients grow from layer to layer can still overflow: the curvature then is not finite, which the
  optimizers report; `"float32"`, `"tf32"` and `"bfloat16"` have the exponents of float32.
* Two products in place of three need the digits of float32 (the sum of their terms is what is left of larger ones), so
  `"bfloat16"` and `"tf32"` take three.
"""


def table(measured: list[Line], machine: dict[str, Any]) -> str:
    """The document, from measured numbers."""
    out = [_TEXT.format(seeds=SEEDS)]
    norms = sorted({line.norm for line in measured})
    for name in dict.fromkeys(line.network for line in measured):
        out += [f"## {name}", "", "| setting | " + " | ".join(f"‖d‖ = {norm:.0e}" for norm in norms) + " |"]
        out += ["|---|" + ":-:|" * len(norms)]
        for setting in dict.fromkeys(line.setting for line in measured if line.network == name):
            found = {line.norm: line for line in measured if (line.network, line.setting) == (name, setting)}
            each = [found[norm] for norm in norms]
            cells = " | ".join(f"{line.sample:.0e} / {line.total:.0e} / {line.own:.0e}" for line in each)
            out.append(f"| {setting} | {cells} |")
        out.append("")
    out += [f"Measured with torch {machine['torch']} on {machine['accelerator'] or machine['processor']}.", ""]
    return "\n".join(out)


def main() -> None:
    """Measure, or only write the table again."""
    parser = argparse.ArgumentParser(prog="python -m curvestep.bench.precision", description=main.__doc__)
    parser.add_argument("--render", action="store_true", help="write the table from the committed numbers")
    arguments = parser.parse_args()
    numbers = DOCUMENT.with_suffix(".json")
    if not arguments.render:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        content = {"environment": environment(device), "lines": [asdict(line) for line in lines(device)]}
        numbers.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    content = json.loads(numbers.read_text(encoding="utf-8"))
    DOCUMENT.write_text(table([Line(**line) for line in content["lines"]], content["environment"]), encoding="utf-8")


if __name__ == "__main__":
    main()
