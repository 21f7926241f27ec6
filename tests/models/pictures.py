"""Models of images that are not in `transformers`, and of scenes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from tests.models.row import Case, Model, supervised

FAMILY = "images and scenes"
BATCH, CLASSES = 3, 4


def classes(net: nn.Module, size: int) -> Case:
    y = torch.randint(CLASSES, (BATCH,))
    return supervised(net, torch.randn(BATCH, 2, size, size), lambda out: F.cross_entropy(out, y, reduction="none"))


class Explicit(TorchFunctionMode):
    """Writes the hard sigmoid as a clamp: its own kernel has no double backward."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.hardsigmoid:
            return (args[0] / 6 + 0.5).clamp(0, 1)
        return func(*args, **(kwargs or {}))


def mobile() -> Case:
    net = nn.Sequential(nn.Conv2d(2, 4, 3, stride=2, padding=1), Squeezed(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                        nn.Linear(4, CLASSES))  # fmt: skip
    case = classes(net, 7)

    def each() -> Tensor:
        with Explicit():
            return case.terms()

    return Case(case.params, case.loss, each)


class Squeezed(nn.Module):
    """An inverted residual block with squeeze and excitation, as in MobileNet v3."""

    def __init__(self, width: int) -> None:
        super().__init__()
        wide = 2 * width
        self.expand = nn.Sequential(nn.Conv2d(width, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.Hardswish())
        self.depth = nn.Sequential(nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False), nn.BatchNorm2d(wide))
        self.squeeze = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(wide, 2, 1), nn.ReLU(), nn.Conv2d(2, wide, 1), nn.Hardsigmoid()
        )
        self.project = nn.Sequential(nn.Conv2d(wide, width, 1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        held = self.depth(self.expand(x))
        return x + self.project(held * self.squeeze(held))


class DenseBlock(nn.Module):
    """Each layer reads the outputs of all layers before it."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(n), nn.SiLU(), nn.Conv2d(n, 2, 3, padding=1, bias=False)) for n in (2, 4, 6)
        )
        self.transition = nn.Sequential(nn.BatchNorm2d(8), nn.SiLU(), nn.Conv2d(8, 4, 1), nn.AvgPool2d(2))
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        held = [x]
        for layer in self.layers:
            held.append(layer(torch.cat(held, 1)))
        return self.head(self.transition(torch.cat(held, 1)).mean((2, 3)))


class Mixer(nn.Module):
    """Dense layers over patches and over channels in turn."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(2, 6, 2, stride=2)
        self.norms = nn.ModuleList(nn.LayerNorm(6) for _ in range(3))
        self.tokens = nn.Sequential(nn.Linear(9, 5), nn.GELU(), nn.Linear(5, 9))
        self.channels = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 6))
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = x + self.tokens(self.norms[0](x).transpose(1, 2)).transpose(1, 2)
        x = x + self.channels(self.norms[1](x))
        return self.head(self.norms[2](x).mean(1))


class AttentionUNet(nn.Module):
    """Down and up by strided and transposed convolutions, skips weighed by an attention gate."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.SiLU())
        self.down = nn.Sequential(nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.GroupNorm(2, 6), nn.SiLU())
        self.up = nn.ConvTranspose2d(6, 4, 2, stride=2)
        self.gate = nn.Conv2d(8, 1, 1)
        self.leave = nn.Conv2d(8, CLASSES, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.enter(x)
        coarse = self.up(self.down(fine))
        fine = fine * self.gate(torch.cat([fine, coarse], 1)).sigmoid()
        return self.leave(torch.cat([fine, coarse], 1))


def dice() -> Case:
    """Overlap and cross entropy of a segmentation, each sample on its own."""
    truth = torch.randint(CLASSES, (BATCH, 6, 6))
    hot = F.one_hot(truth, CLASSES).movedim(-1, 1).double()

    def loss(out: Tensor) -> Tensor:
        share = out.softmax(1)
        overlap = 2 * (share * hot).sum((2, 3)) / (share.sum((2, 3)) + hot.sum((2, 3)) + 1)
        return 1 - overlap.mean(1) + F.cross_entropy(out, truth, reduction="none").mean((1, 2))

    return supervised(AttentionUNet(), torch.randn(BATCH, 1, 6, 6), loss)


class SpatialTransformer(nn.Module):
    """A net that says where to look, and a net that looks there."""

    def __init__(self) -> None:
        super().__init__()
        self.where = nn.Sequential(nn.Flatten(), nn.Linear(50, 6), nn.Tanh(), nn.Linear(6, 6))
        self.look = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(36, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        frame = torch.eye(2, 3) + 0.1 * self.where(x).view(-1, 2, 3)
        return self.look(
            F.grid_sample(x, F.affine_grid(frame, list(x.shape), align_corners=False), align_corners=False)
        )


class Capsules(nn.Module):
    """Dynamic routing between capsules: three rounds of agreement."""

    def __init__(self) -> None:
        super().__init__()
        self.low = nn.Conv2d(2, 6, 3, stride=2)
        self.votes = nn.Parameter(0.3 * torch.randn(8, CLASSES, 3, 4))

    @staticmethod
    def squash(x: Tensor) -> Tensor:
        size = x.square().sum(-1, keepdim=True)
        return size / (1 + size) * x / (size + 1e-8).sqrt()

    def forward(self, x: Tensor) -> Tensor:
        low = self.squash(self.low(x).view(len(x), 8, 3))
        votes = torch.einsum("bid,icde->bice", low, self.votes)
        logits = torch.zeros(len(x), 8, CLASSES)
        high = votes.mean(1)
        for _ in range(3):
            high = self.squash((logits.softmax(2)[..., None] * votes).sum(1))
            logits = logits + (votes * high[:, None]).sum(-1)
        return high.norm(dim=-1)


class SubPixel(nn.Module):
    """Super-resolution: convolutions at low resolution, then a shuffle of channels into pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.PReLU(4), nn.Conv2d(4, 4, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.body(x), 2) + F.interpolate(x, scale_factor=2, mode="bicubic")


def super_resolution() -> Case:
    fine = torch.randn(BATCH, 1, 8, 8)
    net = SubPixel()
    return supervised(net, torch.randn(BATCH, 1, 4, 4), lambda out: (out - fine).square().mean((1, 2, 3)))


class Radiance(nn.Module):
    """A radiance field: positions as sines and cosines, colours added up along rays by volume rendering."""

    def __init__(self) -> None:
        super().__init__()
        self.field = nn.Sequential(nn.Linear(18, 8), nn.Softplus(), nn.Linear(8, 8), nn.Softplus(), nn.Linear(8, 4))

    def forward(self, rays: Tensor) -> Tensor:
        start, heading = rays[:, None, :3], rays[:, None, 3:]
        depth = torch.linspace(0.5, 2.0, 5)
        points = start + depth[:, None] * heading
        bands = points[..., None] * torch.tensor([1.0, 2.0, 4.0])
        encoded = torch.cat([bands.sin(), bands.cos()], -1).flatten(2)
        out = self.field(encoded)
        opaque = 1 - torch.exp(-F.softplus(out[..., 3]) * 0.375)
        clear = torch.cumprod(torch.cat([torch.ones(len(rays), 1), 1 - opaque[:, :-1]], 1), 1)
        return ((opaque * clear)[..., None] * out[..., :3].sigmoid()).sum(1)


def rendering() -> Case:
    colour = torch.rand(BATCH + 1, 3)
    return supervised(Radiance(), torch.randn(BATCH + 1, 6), lambda out: (out - colour).square().mean(1))


ROWS: list[Model] = [
    Model("squeeze and excitation", FAMILY, mobile, smooth=False,
          note="depthwise convolution, batch normalisation in training mode; torch's own gradient of the hard sigmoid "
          "is 3e-8 off", whole="samples mix behind"),
    Model("DenseNet", FAMILY, lambda: classes(DenseBlock(), 6), note="batch normalisation in training mode",
          whole="samples mix behind"),
    Model("MLP-Mixer", FAMILY, lambda: classes(Mixer(), 6)),
    Model("U-Net with attention gates", FAMILY, dice, note="overlap loss"),
    Model("spatial transformer", FAMILY, lambda: classes(SpatialTransformer(), 5), smooth=False,
          note="an image read at positions that are computed"),
    Model("capsules", FAMILY, lambda: classes(Capsules(), 5), note="dynamic routing"),
    Model("sub-pixel super-resolution", FAMILY, super_resolution, smooth=False),
    Model("radiance field", FAMILY, rendering, note="positional encoding, volume rendering by a cumulative product"),
]  # fmt: skip
