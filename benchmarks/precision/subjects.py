"""The networks whose rounding errors are measured, each with a batch and a direction."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import curvestep
from curvestep.bench.networks.gpt import GPT
from curvestep.bench.networks.lstm import CharacterLSTM
from curvestep.bench.networks.vit import ViT


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
