"""Rows that are called exact: each is the curvature of that sample's term of the loss, one row a sample."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

import curvestep
from tests.fuzz.case import Claim, directions, rows, whole
from tests.fuzz.findings.finding import Table

FINDINGS = Table()


def split(
    terms: Callable[[], Tensor],
    params: Sequence[Tensor],
    batch_size: int | None = None,
    *,
    forms: Any = ("auto",),
    mean: Callable[[], Tensor] | None = None,
) -> Iterator[Claim]:
    """A loss that is the mean of its samples' terms (B,); `mean` is the same as a user writes it."""
    d = directions(params)
    with curvestep.record(batch_size=batch_size) as tape:
        (terms().mean() if mean is None else mean()).backward()
    losses = [functools.partial(lambda s: terms()[s], s) for s in range(len(terms()))]
    for form in forms:
        found = tape.curvature(params, d, form=form)
        yield from whole(found, lambda: terms().mean(), params, d)
        yield from rows(found, losses, params, d)


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    return F.scaled_dot_product_attention(query, key, value, mask)


# -- 12: the first argument is shared, the samples are in a later one --------------------------------------------------


@FINDINGS.row("attack 12")
def attention_with_shared_queries() -> Iterator[Claim]:
    q, z, k = torch.randn(3, 6, requires_grad=True), torch.randn(4, 7, 6), nn.Linear(6, 6)
    return split(
        lambda: _attend(q.expand(4, 1, 3, 6), k(z)[:, None], z[:, None]).pow(2).sum((1, 2, 3)), [q, *k.parameters()]
    )


@FINDINGS.row("attack 12")
def multihead_attention_with_shared_queries() -> Iterator[Claim]:
    attention = nn.MultiheadAttention(6, 2, batch_first=True)
    q, z = torch.randn(1, 3, 6, requires_grad=True), torch.randn(4, 7, 6)
    return split(
        lambda: attention(q.expand(4, 3, 6), z, z, need_weights=False)[0].pow(2).sum((1, 2)),
        [q, *attention.parameters()],
        4,
    )


@FINDINGS.row("attack 12")
def attention_mask_alone_is_of_the_samples() -> Iterator[Claim]:
    q, k, m = torch.randn(5, 6, requires_grad=True), torch.randn(5, 6, requires_grad=True), torch.randn(4, 1, 5, 5)
    return split(
        lambda: _attend(q.expand(4, 1, 5, 6), k.expand(4, 1, 5, 6), k.expand(4, 1, 5, 6), m).exp().sum((1, 2, 3)),
        [q, k],
        4,
    )


@FINDINGS.row("attack 12")
def baddbmm_of_shared_factors() -> Iterator[Claim]:
    a, b = torch.randn(4, 2, 3, requires_grad=True), torch.randn(4, 3, 5)
    u, W = torch.randn(4, 2, 5), torch.randn(2, 3, requires_grad=True)
    return split(lambda: torch.baddbmm(u, W.expand(4, 2, 3) * a, b).exp().sum((1, 2)), [W, a], 4)


@FINDINGS.row("attack 12")
def baddbmm_adds_samples_to_shared_products() -> Iterator[Claim]:
    x, w = torch.randn(4, 2, 5), torch.randn(2, 5, requires_grad=True)
    a, b = torch.randn(1, 2, 3, requires_grad=True), torch.randn(1, 3, 5, requires_grad=True)
    return split(
        lambda: torch.baddbmm(torch.tanh(x * w), a.expand(4, 2, 3), b.expand(4, 3, 5)).exp().sum((1, 2)), [a, b, w], 4
    )


@FINDINGS.row("attack 12")
def batch_norm_folded_with_weights_of_the_samples() -> Iterator[Claim]:
    content, style = torch.randn(1, 3, 6), torch.randn(4, 2)
    to, c = nn.Linear(2, 3), torch.randn(3, 6, requires_grad=True)

    def terms() -> Tensor:
        image = (content * c).expand(4, 3, 6).reshape(1, 12, 6)
        return F.batch_norm(image, None, None, to(style).reshape(12), None, True).reshape(4, 3, 6).exp().sum((1, 2))

    return split(terms, [c, *to.parameters()], 4)


@FINDINGS.row("attack 12")
def shared_logits_against_targets_of_the_samples() -> Iterator[Claim]:
    z, y = torch.randn(3, requires_grad=True), torch.rand(4, 3)
    return split(lambda: F.binary_cross_entropy_with_logits(z.expand(4, 3), y, reduction="none").pow(2).sum(1), [z], 4)


# -- 13: separated advanced indices ------------------------------------------------------------------------------------


@FINDINGS.row("attack 13")
def separated_indices_as_many_as_samples() -> Iterator[Claim]:
    x, W = torch.randn(4, 5, 2, 5), torch.randn(5, 5, requires_grad=True)
    i, j, v = torch.tensor([0, 2, 1, 4]), torch.tensor([1, 3, 0, 2]), torch.randn(4)
    return split(lambda: (torch.tanh(x @ W)[:, i, :, j] * v[:, None, None]).exp().sum((0, 2)), [W])


# -- 14: operations that reach across the sample axis ------------------------------------------------------------------


def _across(mix: Callable[[Tensor], Tensor]) -> Iterator[Claim]:
    """Samples on axis 1 of (T, B, F), stated; `mix` keeps the shape (T, B, F') of its argument."""
    x, W = torch.randn(4, 6, 4), torch.randn(4, 4, requires_grad=True)
    return split(lambda: mix(torch.tanh(x @ W)).pow(3).mean((0, 2)), [W], 6, forms=("auto", "taylor"))


@FINDINGS.row("attack 14")
def group_norm_over_the_sample_axis() -> Iterator[Claim]:
    x, W = torch.randn(3, 4, 5), torch.randn(5, 5, requires_grad=True)
    norm = nn.GroupNorm(2, 4)
    return split(lambda: norm(torch.tanh(x @ W)).pow(3).mean((0, 2)), [W], 4)


@FINDINGS.row("attack 14")
def average_pool_over_the_sample_axis() -> Iterator[Claim]:
    return _across(lambda h: F.avg_pool1d(h.transpose(1, 2), 3, 1, 1).transpose(1, 2))


@FINDINGS.row("attack 14")
def max_pool_over_the_sample_axis() -> Iterator[Claim]:
    return _across(lambda h: F.max_pool1d(h.transpose(1, 2), 3, 1, 1).transpose(1, 2))


@FINDINGS.row("attack 14")
def average_pool_2d_over_the_sample_axis() -> Iterator[Claim]:
    return _across(lambda h: F.avg_pool2d(h, 3, 1, 1))


@FINDINGS.row("attack 14")
def max_pool_2d_over_the_sample_axis() -> Iterator[Claim]:
    return _across(lambda h: F.max_pool2d(h, 3, 1, 1))


@FINDINGS.row("attack 14")
def pad_shifts_the_sample_axis() -> Iterator[Claim]:
    return _across(lambda h: F.pad(h, (0, 0, 1, -1)))


@FINDINGS.row("attack 14")
def reflecting_pad_shifts_the_sample_axis() -> Iterator[Claim]:
    return _across(lambda h: F.pad(h.transpose(1, 2), (1, -1), mode="reflect").transpose(1, 2))


@FINDINGS.row("attack 14")
def recurrent_net_with_samples_as_features() -> Iterator[Claim]:
    net, w = nn.GRU(4, 4, batch_first=True), torch.randn(2, 5, 4)
    return split(lambda: net(w)[0].pow(3).mean((0, 1)), list(net.parameters()), 4)


# -- 15, 27, 28: the samples are looked for in the wrong place ---------------------------------------------------------


def _positions(length: int, batch_size: int | None) -> Iterator[Claim]:
    first, second = nn.Linear(5, 6), nn.Linear(5, 6)
    pe, x, last = torch.randn(length, 5), torch.randn(4, length, 5), nn.Linear(6, 6)

    def terms() -> Tensor:
        at = torch.tanh(first(pe))
        return torch.tanh(last(second(x) + at)).pow(2).sum((1, 2))

    return split(terms, [*first.parameters(), *second.parameters(), *last.parameters()], batch_size)


@FINDINGS.row("attack 15")
def a_table_of_as_many_positions_as_samples() -> Iterator[Claim]:
    return _positions(4, 4)


@FINDINGS.row("attack 15")
def a_table_of_positions_read_before_the_samples() -> Iterator[Claim]:
    return _positions(6, None)


@FINDINGS.row("attack 15")
def triangular_solve_of_a_shared_right_side() -> Iterator[Claim]:
    x, b, c = torch.randn(3, 3, 3), torch.randn(3, 3, requires_grad=True), torch.randn(3, 3, requires_grad=True)
    lower = x.tril(-1) + 2 * torch.eye(3)
    return split(lambda: torch.linalg.solve_triangular(lower * c, b, upper=False).pow(3).sum((1, 2)), [b, c], 3)


@FINDINGS.row("attack 27")
def samples_counted_on_a_position_buffer() -> Iterator[Claim]:
    pe, E = nn.Embedding(7, 4), nn.Embedding(9, 4)
    net = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3))
    i = torch.randint(9, (5, 7))
    return split(
        lambda: net(pe(torch.arange(7)[None]) + E(i)).pow(2).sum((1, 2)),
        [pe.weight, E.weight, *net.parameters()],
    )


@FINDINGS.row("attack 27")
def samples_counted_on_a_scale_of_the_weight() -> Iterator[Claim]:
    x, W, scale = torch.randn(6, 3), torch.randn(4, 3, requires_grad=True), torch.tensor([2.0])
    return split(lambda: torch.tanh(x @ (W * scale).t()).pow(2).sum(1), [W])


@FINDINGS.row("attack 27")
def samples_counted_on_the_mask_of_a_pruned_layer() -> Iterator[Claim]:
    x, lin = torch.randn(6, 3), nn.Linear(3, 5)
    prune.random_unstructured(lin, "weight", 0.5)
    forward = nn.Sequential(lin, nn.Tanh())
    return split(lambda: forward(x).pow(2).sum(1), list(lin.parameters()))


@FINDINGS.row("attack 27")
def samples_counted_on_an_orthogonal_layer() -> Iterator[Claim]:
    x, lin = torch.randn(6, 3), parametrizations.orthogonal(nn.Linear(3, 3))
    return split(lambda: torch.tanh(lin(x)).pow(3).sum(1), list(lin.parameters()))


@FINDINGS.row("attack 27")
def samples_counted_on_a_penalty_before_the_data() -> Iterator[Claim]:
    x, W, anchor = torch.randn(6, 3), torch.randn(4, 3, requires_grad=True), torch.randn(4, 3)

    def terms() -> Tensor:
        penalty = (W - anchor).pow(4).sum()
        return torch.tanh(x @ W.t()).pow(2).sum(1) + penalty

    return split(terms, [W])


@FINDINGS.row("attack 28")
def an_operand_whose_width_is_the_batch() -> Iterator[Claim]:
    x, W, v = torch.randn(4, 3), torch.randn(3, 4, requires_grad=True), torch.randn(3, requires_grad=True)
    # Column j of z + u holds u of sample j: the samples mix, as the last terms say.
    return split(lambda: (torch.tanh(x @ W) + torch.tanh(x @ v)).pow(3).sum(1), [W, v], 4)


@FINDINGS.row("attack 28")
def a_norm_weight_made_of_the_batch() -> Iterator[Claim]:
    x, W, v = torch.randn(4, 3), torch.randn(3, 4, requires_grad=True), torch.randn(3, requires_grad=True)
    return split(lambda: F.layer_norm(torch.tanh(x @ W), (4,), torch.tanh(x @ v)).pow(3).sum(1), [W, v], 4)


@FINDINGS.row("attack 28")
def a_bias_made_of_the_batch() -> Iterator[Claim]:
    x, W, v = torch.randn(4, 3), torch.randn(4, 3, requires_grad=True), torch.randn(3, requires_grad=True)
    return split(lambda: F.linear(x, W, torch.tanh(x @ v)).pow(3).sum(1), [W, v], 4)


@FINDINGS.row("attack 28")
def a_second_data_set_of_another_size() -> Iterator[Claim]:
    x, z, W = torch.randn(4, 3), torch.randn(6, 3), torch.randn(3, 3, requires_grad=True)
    # Both sets give one loss: which part of the second belongs to a sample of the first is nobody's to say.
    d = directions([W])

    def loss() -> Tensor:
        return torch.tanh(x @ W).pow(2).sum(1).mean() + torch.tanh(z @ W).pow(3).sum(1).mean()

    with curvestep.record() as tape:
        loss().backward()
    found = tape.curvature([W], d)
    yield from whole(found, loss, [W], d)
    yield Claim("rows of one set called exact", found.per_sample is not None and found.per_sample_exact, False)


# -- besides the numbered ones -----------------------------------------------------------------------------------------


@FINDINGS.row("attack 0")
def graphs_of_unequal_size() -> Iterator[Claim]:
    x, W, V = torch.randn(6, 4), torch.randn(4, 4, requires_grad=True), torch.randn(4, 3, requires_grad=True)
    y = torch.arange(3)

    def terms() -> Tensor:
        graphs = torch.tanh(x @ W).split([2, 1, 3])  # the nodes of three graphs
        return F.cross_entropy(torch.stack([h.mean(0) for h in graphs]) @ V, y, reduction="none")

    return split(terms, [W, V], 3)


@FINDINGS.row("attack 0")
def support_points_of_an_inner_loop() -> Iterator[Claim]:
    support, targets = torch.randn(4, 5, 3), torch.randn(4, 5)
    query, labels = torch.randn(4, 6, 3), torch.randn(4, 6)
    w = torch.randn(3, requires_grad=True)

    def terms() -> Tensor:
        losses = []
        for task in range(4):
            inner = (torch.tanh(support[task] @ w) - targets[task]).pow(2).mean()
            (grad,) = torch.autograd.grad(inner, w, create_graph=True)
            losses.append((torch.tanh(query[task] @ (w - 0.3 * grad)) - labels[task]).pow(2).mean())
        return torch.stack(losses)

    return split(terms, [w])
