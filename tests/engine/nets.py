"""Small networks of the shapes that people train, for the database of graphs. Nothing here knows the engine."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Residual(nn.Module):
    """conv – norm – activation – conv – norm, plus a projected short cut."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outside)
        self.second = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outside)
        self.short = nn.Conv2d(inside, outside, 1, stride, bias=False)
        self.short_norm = nn.BatchNorm2d(outside)

    def forward(self, x: Tensor) -> Tensor:
        y = F.silu(self.first_norm(self.first(x)))
        return F.silu(self.second_norm(self.second(y)) + self.short_norm(self.short(x)))


class ResNet(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.SiLU(), Residual(4, 4, 1), Residual(4, 6, 2),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5),
        )  # fmt: skip


class PostNorm(nn.Module):
    """The block of the first transformers: normalise after each sum."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.feed = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(approximate="tanh"), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = self.norms[0](x + self.attention(x, x, x, need_weights=False)[0])
        return self.norms[1](x + self.feed(x))


class UNet(nn.Module):
    """Down, up, and a skip at each scale; group norm, so that samples stay apart."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(2, 4, 3, padding=1)
        self.lower = nn.Conv2d(4, 6, 3, stride=2, padding=1)
        self.bottom = nn.Conv2d(6, 6, 3, padding=1)
        self.norm = nn.GroupNorm(2, 6)
        self.up = nn.ConvTranspose2d(6, 4, 2, stride=2)
        self.join = nn.Conv2d(8, 4, 3, padding=1)
        self.out = nn.Conv2d(6, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        high = F.silu(self.down(x))
        low = F.silu(self.norm(self.bottom(F.silu(self.lower(high)))))
        mixed = F.silu(self.join(torch.cat([self.up(low), high], 1)))
        return self.out(torch.cat([mixed, F.interpolate(x, scale_factor=1.0, mode="bilinear")], 1))


class TiedLanguageModel(nn.Module):
    """The table of tokens is also the last layer, transposed."""

    def __init__(self, vocabulary: int = 7, width: int = 6) -> None:
        super().__init__()
        self.table = nn.Embedding(vocabulary, width)
        self.mix = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = torch.tanh(self.mix(self.table(tokens))).cumsum(1)
        return F.linear(self.norm(hidden), self.table.weight)


class InPlace(nn.Module):
    """Activations that write over their input, an accumulated residual, and a scaling in place."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)])

    def forward(self, x: Tensor) -> Tensor:
        x = F.silu(self.layers[0](x), inplace=True)
        y = self.layers[1](x)
        y += torch.tanh(x)
        y.mul_(1.3).add_(x, alpha=0.2).sigmoid_()
        return self.layers[2](y).sub_(0.1)


class WriteIntoViews(nn.Module):
    """Writes into views of a buffer, read afterwards through the base and through other views."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.last = nn.Linear(4, 3), nn.Linear(4, 3), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        base = torch.tanh(self.last.weight[:, :4] @ x.t()).t().repeat(1, 2)  # (B, 6), moving
        window = base[:, 1:4]
        base[:, :3] = self.left(x)
        tail = base[:, 3:]
        tail.mul_(torch.sigmoid(self.right(x)))
        base[:, 5] *= 2.0
        return self.last(base) + torch.tanh(window) * tail


class Dilated(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Conv1d(2, 4, 3, dilation=2, padding=2), nn.Tanh(), nn.Conv1d(4, 8, 3, groups=4, stride=2), nn.SiLU(),
            nn.Conv1d(8, 8, 3, groups=8, padding=1), nn.Conv1d(8, 6, 1), nn.Mish(), nn.AvgPool1d(2, ceil_mode=True),
            nn.Flatten(), nn.Linear(18, 3),
        )  # fmt: skip


class Recurrence(nn.Module):
    """One cell applied three times: its weights are shared by depth."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.out = nn.Linear(5, 5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        z = x
        for _ in range(3):
            z = torch.tanh(self.cell(z) + x)
        return self.out(z)


class TwoInputs(nn.Module):
    """An image and a vector of numbers, joined by a product and by a bilinear form."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Softplus(), nn.Flatten(), nn.Linear(12, 4))
        self.numbers = nn.Linear(3, 4)
        self.form = nn.Bilinear(4, 4, 3)

    def forward(self, image: Tensor, numbers: Tensor) -> Tensor:
        a, b = self.image(image), self.numbers(numbers)
        return self.form(a * torch.sigmoid(b), b)


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNN] | type[nn.LSTM] | type[nn.GRU]) -> None:
        super().__init__()
        self.rnn = kind(input_size=3, hidden_size=4, num_layers=2, batch_first=True)
        self.out = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(x)[0][:, -1])


class WithDropout(nn.Module):
    """Dropout with the same mask at every call, as one recorded step sees it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        torch.manual_seed(3)
        return self.second(F.dropout(torch.tanh(self.first(F.dropout(x, 0.2))), 0.5))


class WeightNorm(nn.Module):
    """w = g v/‖v‖ as a formula; torch's fused operation has a wrong second derivative."""

    def __init__(self) -> None:
        super().__init__()
        self.v, self.g = nn.Parameter(torch.randn(5, 4)), nn.Parameter(torch.rand(5, 1) + 0.5)
        self.out = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.g * self.v / self.v.norm(dim=1, keepdim=True)
        return self.out(torch.tanh(x @ weight.t()))


class ManualStatistics(nn.Module):
    """Batch normalisation by hand: mean and variance of the batch as ordinary operations."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.scale, self.last = nn.Linear(4, 5), nn.Parameter(torch.rand(5) + 0.5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        y = (y - y.mean(0)) / torch.sqrt(y.var(0, unbiased=False) + 1e-3)
        return self.last(torch.tanh(self.scale * y))


class LowRank(nn.Module):
    """A frozen layer with a trained low-rank addition."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Linear(4, 6).requires_grad_(False)
        self.down, self.up = nn.Linear(4, 2, bias=False), nn.Linear(2, 6, bias=False)
        self.out = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.frozen(x) + 2.0 * self.up(self.down(x))))


class Unused(nn.Module):
    """An output that no loss reads and a layer that no output reads."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head, self.other, self.never = (nn.Linear(4, 4) for _ in range(4))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.tanh(self.body(x))
        return self.head(hidden), torch.exp(self.other(hidden))


class Windows(nn.Module):
    """Attention within windows: the batch is folded with the windows and unfolded again."""

    def __init__(self, width: int = 4, window: int = 2) -> None:
        super().__init__()
        self.window, self.attend, self.out = window, PostNorm(width, 2), nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        batch, height, breadth, width = x.shape
        k = self.window
        tiles = (
            x.view(batch, height // k, k, breadth // k, k, width).permute(0, 1, 3, 2, 4, 5).reshape(-1, k * k, width)
        )
        tiles = self.attend(tiles).view(batch, height // k, breadth // k, k, k, width)
        merged = tiles.permute(0, 1, 3, 2, 4, 5).reshape(batch, height * breadth, width)
        return self.out(merged.mean(1))


class Experts(nn.Module):
    """A gate in front of three experts, soft."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.experts = nn.Linear(4, 3), nn.ModuleList(nn.Linear(4, 5) for _ in range(3))
        self.out = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.softmax(self.gate(x), -1)
        each = torch.stack([torch.tanh(expert(x)) for expert in self.experts], 1)
        return self.out(torch.einsum("be,bed->bd", weight, each))


class Autoencoder(nn.Module):
    """A variational autoencoder with fixed noise; returns the reconstruction and both moments."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.decode = nn.Linear(5, 4), nn.Linear(2, 5)

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_variance = self.encode(x).chunk(2, -1)
        return self.decode(torch.tanh(mean + torch.exp(0.5 * log_variance) * noise)), mean, log_variance


class RotaryDecoder(nn.Module):
    """RMS norm, rotary positions, grouped queries, a gated feed-forward layer: the shape of present decoders."""

    def __init__(self, width: int = 8, heads: int = 4, vocabulary: int = 7) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.table = nn.Embedding(vocabulary, width)
        self.norms = nn.ModuleList(nn.RMSNorm(width) for _ in range(3))
        self.query, self.key, self.value = (nn.Linear(width, n, bias=False) for n in (width, width // 2, width // 2))
        self.merge = nn.Linear(width, width, bias=False)
        self.gate, self.lift, self.lower = nn.Linear(width, 10), nn.Linear(width, 10), nn.Linear(10, width)
        self.logits = nn.Linear(width, vocabulary, bias=False)

    def rotate(self, x: Tensor) -> Tensor:
        length, half = x.shape[-2], x.shape[-1] // 2
        angle = torch.arange(length).unsqueeze(1) / 10.0 ** torch.arange(half)
        sine, cosine = torch.sin(angle).to(x.dtype), torch.cos(angle).to(x.dtype)
        a, b = x[..., :half], x[..., half:]
        return torch.cat([a * cosine - b * sine, a * sine + b * cosine], -1)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.table(tokens)
        batch, length, width = x.shape
        y = self.norms[0](x)

        def split(t: Tensor) -> Tensor:
            return t.view(batch, length, -1, self.size).transpose(1, 2)

        q, k, v = self.rotate(split(self.query(y))), self.rotate(split(self.key(y))), split(self.value(y))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        x = x + self.merge(y.transpose(1, 2).reshape(batch, length, width))
        y = self.norms[1](x)
        x = x + self.lower(F.silu(self.gate(y)) * self.lift(y))
        return self.logits(self.norms[2](x))


class Patches(nn.Module):
    """A vision transformer: patches by convolution, a class token, a table of positions, attention with weights."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, width, 2, stride=2)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.position = nn.Parameter(torch.randn(1, 5, width) / math.sqrt(width))
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), patches], 1) + self.position
        y = self.norm(x)
        return self.out((x + self.attention(y, y, y)[0])[:, 0])
