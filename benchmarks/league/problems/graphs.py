"""Graphs: the communities of nodes from their neighbours."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from benchmarks.league.problem import Batch, Instance
from benchmarks.league.problems.feed import generator, held_out, shuffled

_NODES, _DEGREE, _FAN = 4_200, 10, 5


class _Aggregate(nn.Module):
    """A node's own features and the mean of its neighbours', each through a linear layer."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.own, self.others = nn.Linear(inputs, outputs), nn.Linear(inputs, outputs, bias=False)

    def forward(self, x: Tensor, neighbours: Tensor) -> Tensor:
        return self.own(x) + self.others(neighbours.mean(-2))


class _Sage(nn.Module):
    def __init__(self, inputs: int, width: int, classes: int) -> None:
        super().__init__()
        self.first, self.second = _Aggregate(inputs, width), _Aggregate(width, classes)

    def forward(self, x: Tensor, near: Tensor, far: Tensor) -> Tensor:
        here, there = nn.functional.relu(self.first(x, near)), nn.functional.relu(self.first(near, far))
        return self.second(here, there)


def _graph(draw: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return features, communities and ten neighbours of each node, of which about six in ten are of its community."""
    labels = torch.arange(_NODES) % 6
    features = torch.randn(6, 24, generator=draw)[labels] * 0.5 + torch.randn(_NODES, 24, generator=draw)
    like = torch.rand(_NODES, _DEGREE, generator=draw) < 0.5
    anyone = torch.randint(_NODES, (_NODES, _DEGREE), generator=draw)
    return features, labels, torch.where(like, anyone // 6 * 6 + labels[:, None], anyone)


def communities(seed: int) -> Instance:
    """Six communities of 4,200 nodes, 1,500 of them known, two layers that average over five neighbours; batch 64."""
    data = generator(seed, "data")
    features, labels, neighbours = _graph(data)
    order = torch.randperm(_NODES, generator=data)
    draw = generator(seed, "noise")

    def some(nodes: Tensor) -> Tensor:
        places = torch.randint(_DEGREE, (*nodes.shape, _FAN), generator=draw)
        return neighbours[nodes[..., None], places]

    def batches() -> Iterator[Batch]:
        for (nodes,) in shuffled((order[:1_500],), 64, seed):
            near = some(nodes)
            yield features[nodes], features[near], features[some(near)], labels[nodes]

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        return nn.functional.cross_entropy(model(*batch[:3]), batch[3])

    # Held out with all neighbours.
    nodes = order[-1_000:]
    near = neighbours[nodes]
    known = features[nodes], features[near], features[neighbours[near]], labels[nodes]
    return Instance(_Sage(24, 32, 6), batches(), loss, held_out(loss, known))
