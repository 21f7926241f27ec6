"""`samples=`: a part of the batch has rows of the whole pass, or the whole batch is measured."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import curvestep
from tests.fuzz.case import Claim, directions, part
from tests.fuzz.findings.finding import Table

FINDINGS = Table()


def measured_part(
    terms: Callable[[], Tensor],
    params: Sequence[Tensor],
    samples: float = 2,
    batch_size: int | None = None,
    *,
    memory: str = "keep",
) -> Iterator[Claim]:
    """The mean of the samples' terms (B,), of which a part is measured."""
    d = directions(params)
    with curvestep.record(batch_size=batch_size, memory=memory) as tape:  # pyright: ignore[reportArgumentType]
        terms().mean().backward()
    losses = [functools.partial(lambda s: terms()[s], s) for s in range(len(terms()))]
    yield from part(tape.curvature(params, d, samples=samples), losses, params, d)


@FINDINGS.row("attack 2")
def layer_norm_with_time_first() -> Iterator[Claim]:
    x, W = torch.randn(3, 8, 4), torch.randn(4, 4, requires_grad=True)
    return measured_part(lambda: F.layer_norm(torch.tanh(x @ W), (4,)).pow(4).mean((0, 2)), [W], 2, 8)


@FINDINGS.row("attack 2")
def transformer_layer_with_time_first() -> Iterator[Claim]:
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0)
    x = torch.randn(5, 8, 4)
    return measured_part(lambda: layer(x).exp().mean((0, 2)), list(layer.parameters()), 0.25, 8)


@FINDINGS.row("attack 26")
def transformer_with_its_default_layout() -> Iterator[Claim]:
    net = nn.Transformer(4, 2, 1, 1, 8, dropout=0.0)
    source, target = torch.randn(5, 8, 4), torch.randn(3, 8, 4)
    return measured_part(lambda: net(source, target).exp().mean((0, 2)), list(net.parameters()), 0.25, 8)


@FINDINGS.row("attack 25")
def a_penalty_anchor_as_long_as_the_batch() -> Iterator[Claim]:
    x, y = torch.randn(6, 3), torch.randn(6, 6)
    W, anchor = torch.randn(6, 3, requires_grad=True), torch.randn(6, 3)

    def penalty() -> Tensor:
        return (W - anchor).pow(4).sum()

    d = directions([W])
    with curvestep.record(batch_size=6) as tape:
        (F.mse_loss(torch.tanh(x @ W.t()), y) + penalty()).backward()
    losses = [
        functools.partial(lambda s: (torch.tanh(x[s] @ W.t()) - y[s]).pow(2).mean() + penalty(), s) for s in range(6)
    ]
    for samples in (None, 2):
        yield from part(tape.curvature([W], d, samples=samples), losses, [W], d)


def _scattered(made: Callable[[Tensor, Tensor], Tensor]) -> Iterator[Claim]:
    x, W = torch.randn(8, 3), torch.randn(3, 3, requires_grad=True)
    return measured_part(lambda: made(torch.tanh(x @ W), x).pow(3).sum(1), [W])


@FINDINGS.row("attack 16")
def scatter_add_with_an_expanded_index_made_inside() -> Iterator[Claim]:
    def made(h: Tensor, x: Tensor) -> Tensor:
        index = torch.tensor([1, 0, 1]).unsqueeze(0).expand(8, 3)
        return torch.zeros(8, 3).scatter_add(1, index, h)

    return _scattered(made)


@FINDINGS.row("attack 16")
def scatter_with_an_expanded_index_made_inside() -> Iterator[Claim]:
    def made(h: Tensor, x: Tensor) -> Tensor:
        index = torch.tensor([[1, 0, 2]]).mul(1).expand(8, 3)
        return torch.ones(8, 3).scatter(1, index, h)

    return _scattered(made)


@FINDINGS.row("attack 16")
def three_axes_scattered_with_an_expanded_index() -> Iterator[Claim]:
    x, W = torch.randn(8, 3, 3), torch.randn(3, 3, requires_grad=True)

    def terms() -> Tensor:
        index = torch.tensor([1, 0, 1])[None, :, None].expand(8, 3, 3)
        return torch.zeros(8, 3, 3).scatter_add(1, index, torch.tanh(x @ W)).pow(3).sum((1, 2))

    return measured_part(terms, [W])


@FINDINGS.row("attack 31")
def scatter_reduce_with_an_expanded_index() -> Iterator[Claim]:
    def made(h: Tensor, x: Tensor) -> Tensor:
        index = torch.tensor([1, 0, 1]).unsqueeze(0).expand(8, 3)
        return torch.zeros(8, 3).scatter_reduce(1, index, h, "sum")

    return _scattered(made)


@FINDINGS.row("attack 31")
def rows_written_by_a_mask_of_positions() -> Iterator[Claim]:
    def made(h: Tensor, x: Tensor) -> Tensor:
        h = h.clone()
        h[torch.arange(8) < 3] = 0.4
        return h

    return _scattered(made)


@FINDINGS.row("attack 12")
def a_part_of_attention_with_shared_queries() -> Iterator[Claim]:
    q, z, k = torch.randn(3, 6, requires_grad=True), torch.randn(4, 7, 6), nn.Linear(6, 6)

    def terms() -> Tensor:
        mixed = F.scaled_dot_product_attention(q.expand(4, 1, 3, 6), k(z)[:, None], z[:, None])
        return mixed.pow(2).sum((1, 2, 3))

    return measured_part(terms, [q, *k.parameters()])


@FINDINGS.row("attack 32")
def a_sorted_batch() -> Iterator[Claim]:
    # Half of the samples have curvature 1, the other half 3. A random or spread part of four has mean 2 and a standard
    # deviation below 0.5, and the mean over 64 recordings one below 0.07.
    scale = torch.cat([torch.ones(8), torch.full((8,), 3.0)])
    found = []
    for _ in range(64):
        w = torch.randn(1, requires_grad=True)
        with curvestep.record() as tape:
            (0.5 * scale[:, None] * w.expand(16, 1).pow(2)).sum(1).mean().backward()
        found.append(tape.curvature([w], [torch.ones(1)], samples=0.25).total)
    yield Claim("mean over parts", torch.stack(found).mean(), 2.0, rtol=0.1)
