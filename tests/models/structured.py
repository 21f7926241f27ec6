"""Graphs, sets, weights made by nets, implicit layers, physics, adapters, and losses over the whole batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from tests.models.pretrained import StayDouble, instance, next_token, tokens
from tests.models.row import Case, Model, supervised, trained

FAMILY = "graphs, sets, implicit and physical models"
BATCH, CLASSES = 4, 3


def classes(net: nn.Module, x: Tensor) -> Case:
    y = torch.randint(CLASSES, (BATCH,))
    return supervised(net, x, lambda out: F.cross_entropy(out, y, reduction="none"))


class MessagePassing(nn.Module):
    """Messages along edges, added up at their targets; edges are softly chosen by attention over each target."""

    def __init__(self, attention: bool) -> None:
        super().__init__()
        self.attention = attention
        self.enter, self.message, self.score = nn.Linear(3, 5), nn.Linear(10, 5), nn.Linear(10, 1)
        self.update, self.head = nn.GRUCell(5, 5), nn.Linear(5, CLASSES)

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        state = torch.tanh(self.enter(nodes))
        source, target = edges
        for _ in range(2):
            pairs = torch.cat([state[source], state[target]], 1)
            message = F.silu(self.message(pairs))
            if self.attention:
                weight = self.score(pairs).exp()
                total = torch.zeros(len(nodes), 1).index_add(0, target, weight)
                message = message * weight / total[target]
            state = self.update(torch.zeros_like(state).index_add(0, target, message), state)
        return self.head(state)


def one_graph(attention: bool) -> Case:
    """Classes of the nodes of one graph: the samples are nodes, and neighbours mix."""
    nodes, y = torch.randn(6, 3), torch.randint(CLASSES, (6,))
    edges = torch.tensor([[0, 1, 2, 3, 4, 5, 0, 2, 4, 1], [1, 2, 3, 4, 5, 0, 3, 0, 1, 4]])
    net = MessagePassing(attention)
    if not attention:
        net.score.requires_grad_(False)
    each = lambda: F.cross_entropy(net(nodes, edges), y, reduction="none")  # noqa: E731
    return Case(trained(net), lambda: F.cross_entropy(net(nodes, edges), y), each)


class GraphConvolution(nn.Module):
    """A batch of graphs as dense, normalised adjacency matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(3, 5), nn.Linear(5, 5), nn.Linear(5, CLASSES)

    def forward(self, given: Tensor) -> Tensor:
        nodes, near = given[..., :3], given[..., 3:]
        near = (near + near.transpose(1, 2)).sigmoid()
        scale = near.sum(-1).rsqrt()
        near = scale[:, :, None] * near * scale[:, None, :]
        held = torch.tanh(near @ self.first(nodes))
        return self.head(torch.tanh(near @ self.second(held)).mean(1))


class DeepSet(nn.Module):
    """Elements are mapped one by one, pooled by sum, mean and a soft maximum."""

    def __init__(self) -> None:
        super().__init__()
        self.each = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4))
        self.all = nn.Sequential(nn.Linear(12, 5), nn.Tanh(), nn.Linear(5, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        held = self.each(x)
        return self.all(torch.cat([held.sum(1), held.mean(1), held.logsumexp(1)], 1))


class Perceiver(nn.Module):
    """Learnt queries read a set by attention, twice with the same weights."""

    def __init__(self) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(2, 6))
        self.read = nn.MultiheadAttention(6, 2, kdim=3, vdim=3, batch_first=True)
        self.think = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, batch_first=True, activation="gelu")
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        state = self.queries.expand(len(x), -1, -1)
        for _ in range(2):
            state = self.think(state + self.read(state, x, x)[0])
        return self.head(state.mean(1))


class HyperNetwork(nn.Module):
    """A net that makes the weights of another net for every sample."""

    def __init__(self) -> None:
        super().__init__()
        self.maker = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 5 * 3 + 5 + CLASSES * 5))

    def forward(self, x: Tensor) -> Tensor:
        made = self.maker(x[:, :2])
        first, bias, second = made.split([15, 5, 5 * CLASSES], 1)
        held = torch.tanh(torch.bmm(first.view(-1, 5, 3), x[:, 2:, None]).squeeze(2) + bias)
        return torch.einsum("bch,bh->bc", second.view(-1, CLASSES, 5), held)


class Equilibrium(nn.Module):
    """One layer applied until it settles: a loop of twelve rounds over shared weights."""

    def __init__(self) -> None:
        super().__init__()
        self.hold, self.feed = nn.Linear(5, 5, bias=False), nn.Linear(3, 5)
        self.norm, self.head = nn.LayerNorm(5), nn.Linear(5, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        fed, state = self.feed(x), x.new_zeros(len(x), 5)
        for _ in range(12):
            state = torch.tanh(0.5 * self.norm(self.hold(state)) + fed)
        return self.head(state)


class Solve(nn.Module):
    """A layer that is the solution of a linear system, whose matrix depends on the sample."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix, self.right, self.head = nn.Linear(3, 16), nn.Linear(3, 4), nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        system = self.matrix(x).view(-1, 4, 4)
        system = system @ system.transpose(1, 2) + torch.eye(4)
        return self.head(torch.linalg.solve(system, self.right(x)))


def burgers() -> Case:
    """Residual of u_t + u u_x = ν u_xx at collocation points, by gradients inside the forward."""
    net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1))
    points, edge = torch.rand(BATCH + 1, 2), torch.rand(BATCH + 1, 1)

    def each() -> Tensor:
        at = points.clone().requires_grad_()
        u = net(at)
        (first,) = torch.autograd.grad(u.sum(), at, create_graph=True)
        (second,) = torch.autograd.grad(first[:, 1].sum(), at, create_graph=True)
        residual = first[:, 0] + u[:, 0] * first[:, 1] - 0.05 * second[:, 1]
        start = net(torch.cat([torch.zeros_like(edge), edge], 1)) - torch.sin(torch.pi * edge)
        return residual.square() + start[:, 0].square()

    return Case(trained(net), lambda: each().mean(), each)


class Adapter(nn.Module):
    """A frozen layer with a trained low-rank addition."""

    def __init__(self, frozen: nn.Module, n: int, m: int) -> None:
        super().__init__()
        self.frozen = frozen
        self.down, self.up = nn.Parameter(0.3 * torch.randn(n, 2)), nn.Parameter(0.3 * torch.randn(2, m))

    def forward(self, x: Tensor) -> Tensor:
        return self.frozen(x) + F.dropout(x, 0.1, self.training) @ self.down @ self.up


def adapted() -> Case:
    options = {"vocab_size": 29, "n_positions": 8, "n_embd": 8, "n_layer": 2, "n_head": 2}
    model: Any = instance("GPT2LMHeadModel", {**options, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0})
    model.requires_grad_(False).train()
    for block in model.transformer.h:
        block.attn.c_attn = Adapter(block.attn.c_attn, 8, 24)
    ids = tokens(6)

    def run(kernel: str) -> Any:
        model.set_attn_implementation(kernel)
        with StayDouble():
            return model(input_ids=ids, labels=ids)

    return Case(trained(model), lambda: run("sdpa").loss, lambda: next_token(run("eager"), {"labels": ids}))


class Splines(nn.Module):
    """A layer of cubic B-splines on every edge (Kolmogorov–Arnold), by the recursion of Cox and de Boor."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.coefficients, self.base = nn.Parameter(0.5 * torch.randn(outputs, inputs, 6)), nn.Linear(inputs, outputs)
        self.register_buffer("knots", torch.linspace(-4, 4, 10))

    def forward(self, x: Tensor) -> Tensor:
        knots: Any = self.knots
        x = x[..., None]
        basis = ((x >= knots[:-1]) & (x < knots[1:])).to(x.dtype)
        for k in range(1, 4):
            left = (x - knots[: -k - 1]) / (knots[k:-1] - knots[: -k - 1])
            right = (knots[k + 1 :] - x) / (knots[k + 1 :] - knots[1:-k])
            basis = left * basis[..., :-1] + right * basis[..., 1:]
        return self.base(F.silu(x[..., 0])) + torch.einsum("bik,oik->bo", basis, self.coefficients)


class StraightThrough(torch.autograd.Function):
    """The sign, with the gradient of the identity."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.sign()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return g


class Binary(nn.Linear):
    """A layer whose weights are signs."""

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, StraightThrough.apply(self.weight), self.bias)  # pyright: ignore[reportArgumentType]


class Recommender(nn.Module):
    """Bags of embeddings, dense features, and the products of all pairs of them."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.EmbeddingBag(7, 4, mode=mode) for mode in ("sum", "mean"))
        self.dense, self.top = nn.Linear(3, 4), nn.Sequential(nn.Linear(7, 5), nn.SiLU(), nn.Linear(5, 1))

    def forward(self, dense: Tensor, bags: Tensor) -> Tensor:
        held = [torch.tanh(self.dense(dense))]
        held += [table(ids) for table, ids in zip(self.tables, bags, strict=True)]
        stacked = torch.stack(held, 1)
        pairs = torch.bmm(stacked, stacked.transpose(1, 2))
        first, second = torch.tril_indices(3, 3, -1)
        return self.top(torch.cat([held[0], pairs[:, first, second]], 1)).squeeze(1)


def clicks() -> Case:
    net, dense, bags = Recommender(), torch.randn(BATCH, 3), torch.randint(7, (2, BATCH, 3))
    y = torch.rand(BATCH).round()
    loss = lambda how: F.binary_cross_entropy_with_logits(net(dense, bags), y, reduction=how)  # noqa: E731

    def each() -> Tensor:
        """The bags as sums and means of rows: the fused bag has no double backward."""
        rows = [F.embedding(ids, t.weight) for t, ids in zip(net.tables, bags, strict=True)]  # type: ignore[arg-type]
        stacked = torch.stack([torch.tanh(net.dense(dense)), rows[0].sum(1), rows[1].mean(1)], 1)
        pairs = torch.bmm(stacked, stacked.transpose(1, 2))
        first, second = torch.tril_indices(3, 3, -1)
        out = net.top(torch.cat([stacked[:, 0], pairs[:, first, second]], 1)).squeeze(1)
        return F.binary_cross_entropy_with_logits(out, y, reduction="none")

    return Case(trained(net), lambda: loss("mean"), each)


def actor_critic() -> Case:
    """The clipped objective of proximal policies, a value loss and an entropy bonus."""
    body, policy, value = nn.Linear(4, 6), nn.Linear(6, CLASSES), nn.Linear(6, 1)
    states, actions = torch.randn(BATCH + 1, 4), torch.randint(CLASSES, (BATCH + 1,))
    gain, returns, before = torch.randn(BATCH + 1), torch.randn(BATCH + 1), torch.randn(BATCH + 1) - 1

    def each() -> Tensor:
        held = torch.tanh(body(states))
        spread = torch.distributions.Categorical(logits=policy(held))
        ratio = (spread.log_prob(actions) - before).exp()
        surrogate = torch.min(ratio * gain, ratio.clamp(0.8, 1.2) * gain)
        return -surrogate + 0.5 * (value(held).squeeze(1) - returns).square() - 0.01 * spread.entropy()

    return Case(trained(body, policy, value), lambda: each().mean(), each)


def inner_step() -> Case:
    """Parameters that do well after one gradient step on other data, differentiated through that step."""
    net = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))
    x, y, x_new, y_new = torch.randn(5, 3), torch.randn(5, 2), torch.randn(BATCH, 3), torch.randn(BATCH, 2)

    def each() -> Tensor:
        own: dict[str, Tensor] = dict(net.named_parameters())
        loss = (functional_call(net, own, (x,)) - y).square().mean()
        slopes = torch.autograd.grad(loss, list(own.values()), create_graph=True)
        moved = {name: p - 0.1 * g for (name, p), g in zip(own.items(), slopes, strict=True)}
        return (functional_call(net, moved, (x_new,)) - y_new).square().mean(1)

    return Case(trained(net), lambda: each().mean(), each, batch_size=BATCH)


def redundancy() -> Case:
    """Barlow twins: correlations over the batch between two views, near the identity; no loss of a single sample."""
    net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3), nn.BatchNorm1d(3, affine=False))
    one, two = torch.randn(BATCH + 1, 4), torch.randn(BATCH + 1, 4)

    def loss() -> Tensor:
        link = net(one).T @ net(two) / len(one)
        return (torch.diagonal(link) - 1).square().sum() + 0.1 * (
            link - torch.diag(torch.diagonal(link))
        ).square().sum()

    return Case(trained(net), loss, lambda: loss().expand(len(one)))


ROWS: list[Model] = [
    Model("message passing", FAMILY, lambda: one_graph(False), exact=False,
          note="one graph, messages added up by index: nodes mix"),
    Model("graph attention", FAMILY, lambda: one_graph(True), exact=False, note="one graph: nodes mix"),
    Model("graph convolution", FAMILY, lambda: classes(GraphConvolution(), torch.randn(BATCH, 5, 8)),
          note="a batch of graphs"),
    Model("deep set", FAMILY, lambda: classes(DeepSet(), torch.randn(BATCH, 5, 3))),
    Model("Perceiver", FAMILY, lambda: classes(Perceiver(), torch.randn(BATCH, 5, 3)), note="learnt queries"),
    Model("hypernetwork", FAMILY, lambda: classes(HyperNetwork(), torch.randn(BATCH, 5))),
    Model("deep equilibrium", FAMILY, lambda: classes(Equilibrium(), torch.randn(BATCH, 3)),
          note="twelve rounds over shared weights"),
    Model("linear solve", FAMILY, lambda: classes(Solve(), torch.randn(BATCH, 3)), note="implicit layer"),
    Model("Burgers' equation", FAMILY, burgers, note="physics-informed: gradients inside the forward"),
    Model("LoRA on GPT-2", FAMILY, adapted, needs=("transformers",), note="frozen net, trained adapters"),
    Model("Kolmogorov–Arnold net", FAMILY,
          lambda: classes(nn.Sequential(Splines(3, 4), Splines(4, CLASSES)), 0.5 * torch.randn(BATCH, 3)),
          smooth=False, note="cubic splines"),
    Model("recommender", FAMILY, clicks, note="bags of embeddings",
          whole="the samples are lost in what aten._embedding_bag"),
    Model("actor and critic", FAMILY, actor_critic, smooth=False, note="clipped policy objective"),
    Model("step within a step", FAMILY, inner_step, note="meta-learning: a gradient step inside the forward"),
    Model("binarised net", FAMILY,
          lambda: classes(nn.Sequential(Binary(3, 5), nn.Tanh(), Binary(5, CLASSES)), torch.randn(BATCH, 3)),
          refused="StraightThrough", note="signs by a straight-through estimator that nobody registered"),
    Model("Barlow twins", FAMILY, redundancy, exact=False, note="the loss is one number for the whole batch"),
]  # fmt: skip
