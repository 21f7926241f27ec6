"""Recurrent, convolutional and continuous-time models of sequences."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.models.row import Case, Model, supervised, trained

FAMILY = "sequences"
BATCH, LENGTH, CLASSES = 3, 5, 4


def classes(net: nn.Module, x: Tensor) -> Case:
    y = torch.randint(CLASSES, (BATCH,))
    return supervised(net, x, lambda out: F.cross_entropy(out, y, reduction="none"))


class LastState(nn.Module):
    """Two layers of LSTM with a projection and dropout between them, read at the last time."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 6, num_layers=2, proj_size=5, dropout=0.2, batch_first=True)
        self.head = nn.Linear(5, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0][:, -1])


class Packed(nn.Module):
    """A bidirectional GRU over sequences of several lengths, packed; the last states of both directions are read."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(4, 5, bidirectional=True, batch_first=True)
        self.head = nn.Linear(10, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        lengths = torch.tensor([3, 5, 2])
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        states = self.gru(packed)[1]
        return self.head(torch.cat([states[0], states[1]], 1))


class ConvolutionalLSTM(nn.Module):
    """An LSTM cell whose products are convolutions, run over frames."""

    def __init__(self) -> None:
        super().__init__()
        self.gates = nn.Conv2d(2 + 3, 4 * 3, 3, padding=1)
        self.head = nn.Linear(3, CLASSES)

    def forward(self, frames: Tensor) -> Tensor:
        hidden = frames.new_zeros(len(frames), 3, 4, 4)
        cell = torch.zeros_like(hidden)
        for frame in frames.unbind(1):
            entry, forget, out, fresh = self.gates(torch.cat([frame, hidden], 1)).chunk(4, 1)
            cell = forget.sigmoid() * cell + entry.sigmoid() * fresh.tanh()
            hidden = out.sigmoid() * cell.tanh()
        return self.head(hidden.mean((2, 3)))


class Attending(nn.Module):
    """An encoder and a decoder of GRU cells with additive attention, the decoder fed with its targets."""

    def __init__(self) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(9, 4), nn.Embedding(CLASSES, 4)
        self.encoder, self.decoder = nn.GRU(4, 5, batch_first=True), nn.GRUCell(4 + 5, 5)
        self.key, self.query, self.score = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 1)
        self.head = nn.Linear(5, CLASSES)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        states, last = self.encoder(self.source(source))
        hidden, keys, logits = last[0], self.key(states), []
        for token in self.target(target).unbind(1):
            weight = self.score(torch.tanh(keys + self.query(hidden)[:, None])).softmax(1)
            hidden = self.decoder(torch.cat([token, (weight * states).sum(1)], 1), hidden)
            logits.append(self.head(hidden))
        return torch.stack(logits, 1)


def attending() -> Case:
    net, source = Attending(), torch.randint(9, (BATCH, LENGTH))
    target = torch.randint(CLASSES, (BATCH, 4))

    def each() -> Tensor:
        logits = net(source, target[:, :-1])
        return F.cross_entropy(logits.flatten(0, 1), target[:, 1:].flatten(), reduction="none").view(BATCH, -1).mean(1)

    def loss() -> Tensor:
        return F.cross_entropy(net(source, target[:, :-1]).transpose(1, 2), target[:, 1:])

    return Case(trained(net), loss, each)


class Flow(nn.Module):
    """A neural differential equation, four Runge–Kutta steps of order four."""

    def __init__(self) -> None:
        super().__init__()
        self.field = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 4))
        self.head = nn.Linear(4, CLASSES)

    def slope(self, t: float, x: Tensor) -> Tensor:
        return self.field(torch.cat([x, x.new_full((len(x), 1), t)], 1))

    def forward(self, x: Tensor) -> Tensor:
        h = 0.25
        for i in range(4):
            t = i * h
            a = self.slope(t, x)
            b = self.slope(t + h / 2, x + h / 2 * a)
            c = self.slope(t + h / 2, x + h / 2 * b)
            d = self.slope(t + h, x + h * c)
            x = x + h / 6 * (a + 2 * b + 2 * c + d)
        return self.head(x)


class WaveNet(nn.Module):
    """Causal dilated convolutions with gated activations, residual and skip paths."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv1d(2, 4, 1)
        self.layers = nn.ModuleList(nn.Conv1d(4, 8, 2, dilation=d) for d in (1, 2))
        self.residual = nn.ModuleList(nn.Conv1d(4, 4, 1) for _ in range(2))
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x, skip = self.enter(x), 0.0
        for layer, residual in zip(self.layers, self.residual, strict=True):
            signal, gate = layer(F.pad(x, (layer.dilation[0], 0))).chunk(2, 1)  # type: ignore[index]
            held = residual(signal.tanh() * gate.sigmoid())
            x, skip = x + held, skip + held
        return self.head(skip.mean(2))  # type: ignore[union-attr]


class LongConvolution(nn.Module):
    """A diagonal state space as one convolution as long as the sequence, by Fourier transforms."""

    def __init__(self) -> None:
        super().__init__()
        self.decay, self.turn = nn.Parameter(torch.rand(4, 3)), nn.Parameter(torch.randn(4, 3))
        self.mix = nn.Parameter(torch.randn(4, 3))
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        time = torch.arange(length, dtype=x.dtype)
        pole = torch.complex(-F.softplus(self.decay), self.turn)
        kernel = (self.mix[..., None] * torch.exp(pole[..., None] * time).real).sum(1)
        wave = torch.fft.rfft(x.transpose(1, 2), n=2 * length) * torch.fft.rfft(kernel, n=2 * length)
        return self.head(F.gelu(torch.fft.irfft(wave, n=2 * length)[..., :length]).mean(2))


def paths(logs: Tensor, target: Tensor) -> Tensor:
    """−log of the probability of all alignments of one sample: the forward algorithm in plain operations."""
    blank = target.new_zeros(len(target))
    symbols = torch.stack([blank, target], 1).flatten().tolist() + [0]
    none = logs.new_full((), -1e30)
    alpha = [logs[0, symbols[0]], logs[0, symbols[1]]] + [none] * (len(symbols) - 2)
    for row in logs[1:]:
        fresh = []
        for i, symbol in enumerate(symbols):
            before = [alpha[i]] + ([alpha[i - 1]] if i > 0 else [])
            if i > 1 and symbol != 0 and symbol != symbols[i - 2]:
                before.append(alpha[i - 2])
            fresh.append(torch.logsumexp(torch.stack(before), 0) + row[symbol])
        alpha = fresh
    return -torch.logsumexp(torch.stack(alpha[-2:]), 0)


def aligned() -> Case:
    """A GRU with connectionist temporal classification, whose targets have several lengths."""
    net = nn.GRU(4, 5, batch_first=True)
    head, x = nn.Linear(5, CLASSES), torch.randn(BATCH, 7, 4)
    target, lengths = torch.tensor([[1, 2, 2], [3, 1, 0], [2, 0, 0]]), torch.tensor([3, 2, 1])

    def logs() -> Tensor:
        return head(net(x)[0]).log_softmax(-1)

    def loss() -> Tensor:
        return F.ctc_loss(logs().transpose(0, 1), target, torch.full((BATCH,), 7), lengths)

    def each() -> Tensor:
        rows = zip(logs(), target, lengths.tolist(), strict=True)
        return torch.stack([paths(row, t[:n]) / n for row, t, n in rows])

    return Case(trained(net, head), loss, each)


ROWS: list[Model] = [
    Model("LSTM with projections", FAMILY, lambda: classes(LastState(), torch.randn(BATCH, LENGTH, 4)),
          note="two layers, dropout between them"),
    Model("bidirectional GRU, packed", FAMILY, lambda: classes(Packed(), torch.randn(BATCH, LENGTH, 4)),
          exact=False, note="rows are sorted by length, so the split over samples is not claimed"),
    Model("convolutional LSTM", FAMILY, lambda: classes(ConvolutionalLSTM(), torch.randn(BATCH, 4, 2, 4, 4))),
    Model("encoder–decoder with additive attention", FAMILY, attending),
    Model("neural differential equation", FAMILY, lambda: classes(Flow(), torch.randn(BATCH, 4)), note="Runge–Kutta"),
    Model("WaveNet", FAMILY, lambda: classes(WaveNet(), torch.randn(BATCH, 2, 9)), note="gated dilated convolutions"),
    Model("long convolution", FAMILY, lambda: classes(LongConvolution(), torch.randn(BATCH, 8, 4)),
          note="state space by Fourier transforms, complex numbers inside"),
    Model("GRU with CTC", FAMILY, aligned, note="connectionist temporal classification",
          whole="aten._ctc_loss.Tensor cannot be run"),
]  # fmt: skip
