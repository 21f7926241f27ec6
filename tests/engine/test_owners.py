"""`record(samples=index)`: samples with rows of different number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import curvestep

SIZES = [2, 4, 1, 3]
BATCH = len(SIZES)
INDEX = torch.repeat_interleave(torch.arange(BATCH), torch.tensor(SIZES))
STARTS = [0, 2, 6, 7]
EDGES = torch.tensor([[0, 2, 3, 4, 2, 7, 8, 9, 9], [1, 3, 2, 5, 5, 8, 9, 7, 8]])  # within the graphs
LABELS = torch.tensor([0, 2, 1, 1])
NODES = torch.randn(len(INDEX), 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def net() -> nn.ParameterDict:
    torch.manual_seed(1)
    shapes = {"own": (3, 4), "other": (3, 4), "out": (4, 3)}
    return nn.ParameterDict({name: nn.Parameter(torch.randn(s, dtype=torch.float64)) for name, s in shapes.items()})


def passed(w: nn.ParameterDict, x: Tensor, edges: Tensor) -> Tensor:
    """One round of messages along the edges, with the mean of those that arrive."""
    sent = torch.tanh(x @ w["other"])[edges[0]]
    ones = torch.ones(edges.shape[1], dtype=x.dtype)
    degree = torch.zeros(len(x), dtype=x.dtype).index_add(0, edges[1], ones).clamp(min=1)
    return torch.tanh(
        x @ w["own"] + torch.zeros(len(x), 4, dtype=x.dtype).index_add(0, edges[1], sent) / degree[:, None]
    )


def scattered(w: nn.ParameterDict, x: Tensor, edges: Tensor) -> Tensor:
    """The same by scatter, as the libraries of graphs write it."""
    sent = torch.tanh(x @ w["other"]).index_select(0, edges[0])
    index = edges[1][:, None].expand_as(sent)
    return torch.tanh(x @ w["own"] + x.new_zeros(len(x), 4).scatter_add(0, index, sent))


def pooled(h: Tensor, index: Tensor, batch: int) -> Tensor:
    """The mean of each graph's nodes."""
    total = torch.zeros(batch, h.shape[1], dtype=h.dtype).index_add(0, index, h)
    return total / torch.bincount(index, minlength=batch)[:, None]


def spread(h: Tensor, index: Tensor, batch: int) -> Tensor:
    """Every node beside the mean of its graph, pooled again."""
    return pooled((h * pooled(h, index, batch)[index]).exp(), index, batch)


def apart(s: int, edges: Tensor) -> tuple[Tensor, Tensor]:
    """The nodes and edges of one graph."""
    rows = slice(STARTS[s], STARTS[s] + SIZES[s])
    here = INDEX[edges[0]] == s
    return NODES[rows], edges[:, here] - STARTS[s]


def second(loss: Tensor, params: Sequence[Tensor], d: Sequence[Tensor]) -> Tensor:
    """⟨∇²J d, d⟩ by double backward."""
    grads = torch.autograd.grad(loss, params, create_graph=True)
    slope = torch.stack([(g * t).sum() for g, t in zip(grads, d, strict=True)]).sum()
    again = torch.autograd.grad(slope, params)
    return torch.stack([(g * t).sum() for g, t in zip(again, d, strict=True)]).sum()


@pytest.mark.parametrize("layer", [passed, scattered], ids=["index_add", "scatter_add"])
@pytest.mark.parametrize("pool", [pooled, spread], ids=["mean", "beside the mean"])
def test_graphs_of_unequal_size_have_the_rows_of_each_alone(
    layer: Callable[..., Any], pool: Callable[..., Any]
) -> None:
    w = net()
    params = list(w.values())
    d = [torch.randn_like(p) for p in params]
    with curvestep.record(samples=INDEX) as tape:
        F.cross_entropy(pool(layer(w, NODES, EDGES), INDEX, BATCH) @ w["out"], LABELS).backward()
    found = tape.curvature(params, d)
    truth = []
    for s in range(BATCH):
        x, edges = apart(s, EDGES)
        h = pool(layer(w, x, edges), torch.zeros(len(x), dtype=torch.int64), 1)
        truth.append(second(F.cross_entropy(h @ w["out"], LABELS[s : s + 1]), params, d))
    assert found.per_sample_exact and found.per_sample is not None and not found.samples_guessed
    # the same sums of some tens of products in another order
    torch.testing.assert_close(found.per_sample, torch.stack(truth), rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(found.total, torch.stack(truth).mean(), rtol=1e-11, atol=1e-13)


def test_a_graph_without_nodes_has_a_row_of_its_own() -> None:
    w = net()
    params = [w["own"], w["out"]]
    d = [torch.randn_like(p) for p in params]

    def terms() -> Tensor:
        h = torch.zeros(BATCH + 1, 4, dtype=torch.float64).index_add(0, INDEX, torch.tanh(NODES @ w["own"]))
        return (h @ w["out"]).exp().sum(1)

    with curvestep.record(BATCH + 1, samples=INDEX) as tape:
        terms().mean().backward()
    found = tape.curvature(params, d)
    assert found.per_sample_exact and found.per_sample is not None
    truth = torch.stack([second(terms()[s], params, d) for s in range(BATCH + 1)])
    torch.testing.assert_close(found.per_sample, truth, rtol=1e-11, atol=1e-13)  # roundings


def test_rows_that_are_no_samples_and_took_nothing_are_nobodys() -> None:
    w = net()
    buckets = torch.tensor([3, 3, 0, 0, 0, 0, 1, 5, 5, 5])  # those of a sample go together, but in another order

    with curvestep.record(6, samples=INDEX) as tape:
        h = torch.zeros(6, 4, dtype=torch.float64).index_add(0, buckets, torch.tanh(NODES @ w["own"]))
        (h @ w["out"]).exp().mean().backward()
    assert not tape.curvature([w["own"]], [torch.ones(3, 4, dtype=torch.float64)]).per_sample_exact


def test_a_loss_of_rows_is_split_by_their_samples() -> None:
    """Packed sequences, or a batch that a flow repeats: J is the mean over the rows, J_s is B/N times its own sum."""
    w = net()
    params = [w["own"], w["out"]]
    d = [torch.randn_like(p) for p in params]
    targets = torch.randint(3, (len(INDEX),))

    def terms() -> Tensor:
        return F.cross_entropy(torch.tanh(NODES @ w["own"]) @ w["out"], targets, reduction="none")

    assert_rows_by_index(terms, params, d)


def assert_rows_by_index(terms: Callable[[], Tensor], params: list[Tensor], d: list[Tensor]) -> None:
    """Each sample's entry is the curvature of the terms that the index gives to it."""
    with curvestep.record(samples=INDEX) as tape:
        terms().mean().backward()
    found = tape.curvature(params, d)
    truth = [second(BATCH / len(INDEX) * terms()[INDEX == s].sum(), params, d) for s in range(BATCH)]
    assert found.per_sample_exact and found.per_sample is not None
    torch.testing.assert_close(found.per_sample, torch.stack(truth), rtol=1e-11, atol=1e-13)  # roundings


def test_experts_that_take_some_of_the_rows() -> None:
    w = net()
    params = list(w.values())
    d = [torch.randn_like(p) for p in params]
    first = torch.tensor([True, False] * 5)

    def terms() -> Tensor:
        h = torch.zeros(len(INDEX), 4, dtype=torch.float64)
        for expert, takes in ((w["own"], first), (w["other"], ~first)):
            rows = takes.nonzero()[:, 0]
            h = h.index_add(0, rows, torch.tanh(NODES[rows] @ expert))
        return (h @ w["out"]).exp().sum(1)

    assert_rows_by_index(terms, params, d)


def test_an_edge_between_two_samples_is_no_exact_split() -> None:
    w = net()
    params = list(w.values())
    d = [torch.randn_like(p) for p in params]
    across = torch.cat([EDGES, torch.tensor([[0], [9]])], 1)

    def loss() -> Tensor:
        return F.cross_entropy(pooled(passed(w, NODES, across), INDEX, BATCH) @ w["out"], LABELS)

    with curvestep.record(samples=INDEX) as tape:
        loss().backward()
    found = tape.curvature(params, d)
    assert not found.per_sample_exact
    torch.testing.assert_close(found.total, second(loss(), params, d), rtol=1e-11, atol=1e-13)  # roundings


def test_one_row_a_sample_is_the_plain_batch() -> None:
    w = net()
    params = [w["own"], w["out"]]
    d = [torch.randn_like(p) for p in params]
    found = []
    for batch_size, samples in ((None, torch.arange(10)), (10, None)):
        with curvestep.record(batch_size, samples=samples) as tape:
            (torch.tanh(NODES @ w["own"]) @ w["out"]).exp().mean().backward()
        found.append(tape.curvature(params, d).per_sample)
    assert torch.equal(*found)


def test_an_optimizer_takes_the_index() -> None:
    w = net()
    optimizer = curvestep.RescaledSGD(w.parameters())
    with optimizer.record(samples=INDEX):
        F.cross_entropy(pooled(passed(w, NODES, EDGES), INDEX, BATCH) @ w["out"], LABELS).backward()
    optimizer.step()
    assert optimizer.last_step is not None and optimizer.last_step.outcome is curvestep.Outcome.TAKEN


@pytest.mark.parametrize(
    ("given", "batch_size"),
    [([0, 1], None), (torch.zeros(2, 2, dtype=torch.int64), None), (torch.zeros(3), None), (torch.tensor([-1]), None),
     (torch.tensor([0, 4]), 4)],
    ids=["list", "matrix", "floats", "negative", "too large"],
)  # fmt: skip
def test_what_names_no_samples_is_refused(given: Any, batch_size: int | None) -> None:
    with pytest.raises(ValueError, match="samples must be a tensor"), curvestep.record(batch_size, samples=given):
        pass


def test_an_index_that_no_data_has_is_refused() -> None:
    w = net()
    with curvestep.record(samples=torch.tensor([0, 0, 1])) as tape:
        torch.tanh(NODES @ w["own"]).exp().mean().backward()
    with pytest.raises(curvestep.SampleAxisError, match=r"the 3 rows that samples= names.*shape \(10, 3\)"):
        tape.curvature([w["own"]], [torch.ones(3, 4, dtype=torch.float64)])
