"""The database of whole networks: one row a graph, each with its loss as people write it and the loss of one sample."""

from __future__ import annotations

import functools
import warnings
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from curvestep.testing import Problem
from tests.engine import nets
from tests.engine.ops.row import Draw, integers, normal, unit

Loss = Callable[..., Tensor]


@dataclass(frozen=True)
class Graph:
    """One network, loss and batch.

    Attributes:
        name: of the test.
        build: the network; torch's global generator is seeded before.
        inputs: what is drawn and passed on, sample axis in front.
        loss: (network, *inputs) to J, a scalar.
        terms: the same to J_s, shape (B,): its mean is J.
        smooth: whether central differences are a truth, see `check_rule`.
        scale: size of the direction's elements; smaller where a net amplifies.
        exact: the flag that the split must carry.
        whole: why a part of the batch cannot be measured, as a pattern of the warning; empty: it can.
    """

    name: str
    build: Callable[[], nn.Module]
    inputs: Sequence[Draw]
    loss: Loss
    terms: Loss
    smooth: bool = True
    scale: float = 0.1
    exact: bool = True
    whole: str = ""

    def problem(self, dtype: torch.dtype) -> Problem:
        """The same numbers in any dtype: all are rounded to float32 first."""
        seed = zlib.crc32(self.name.encode())
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        inputs = [draw.make(draw.shape, generator) for draw in self.inputs]
        inputs = [t.float().to(dtype) if t.is_floating_point() else t for t in inputs]
        net = self.build()
        net = net.float().to(dtype).train(net.training)
        params = [p for p in net.parameters() if p.requires_grad]
        direction = [self.scale * torch.randn(p.shape, generator=generator).to(dtype) for p in params]
        return Problem(params, direction, lambda: self.loss(net, *inputs), lambda: self.terms(net, *inputs))


# -- losses -----------------------------------------------------------------------------------------------------------


def entropy(net: nn.Module, *data: Tensor) -> Tensor:
    return F.cross_entropy(net(*data[:-1]), data[-1])


def entropy_each(net: nn.Module, *data: Tensor) -> Tensor:
    return F.cross_entropy(net(*data[:-1]), data[-1], reduction="none")


def token_entropy(net: nn.Module, tokens: Tensor, following: Tensor) -> Tensor:
    return F.cross_entropy(net(tokens).flatten(0, 1), following.flatten())


def token_entropy_each(net: nn.Module, tokens: Tensor, following: Tensor) -> Tensor:
    return F.cross_entropy(net(tokens).transpose(1, 2), following, reduction="none").mean(1)


def squares(net: nn.Module, *data: Tensor) -> Tensor:
    return F.mse_loss(net(*data[:-1]), data[-1])


def squares_each(net: nn.Module, *data: Tensor) -> Tensor:
    each = (net(*data[:-1]) - data[-1]).square()
    return each.reshape(len(each), -1).mean(1)


def mean_of(each: Loss) -> Loss:
    return lambda *args: each(*args).mean()


def penalty(net: nn.Module) -> Tensor:
    """A bent penalty on weights: it belongs to every sample alike."""
    total = torch.zeros((), dtype=torch.float32)
    for p in net.parameters():
        total = total + 0.05 * p.square().sum() + 0.01 * torch.cosh(p).sum()
    return total


def smoothed(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(net(x), y, label_smoothing=0.1)


def smoothed_each(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(net(x), y, label_smoothing=0.1, reduction="none")


def called(net: nn.Module, x: Tensor) -> Tensor:
    """A functional call with weights made from the parameters."""
    weights = {name: torch.tanh(p) * 1.5 for name, p in net.named_parameters()}
    return torch.func.functional_call(net, weights, (x,))


def variational_each(net: nn.Module, x: Tensor, noise: Tensor) -> Tensor:
    again, mean, log_variance = net(x, noise)
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
    return (again - x).square().sum(1) + divergence


def first_output(net: nn.Module, x: Tensor, y: Tensor, each: bool = False) -> Tensor:
    return F.cross_entropy(net(x)[0], y, reduction="none" if each else "mean")


def weighted(net: nn.Module, x: Tensor, y: Tensor, each: bool = False) -> Tensor:
    """Class weights, divided by the sum over the batch."""
    w = torch.tensor([0.5, 1.0, 2.0], dtype=x.dtype)
    if not each:
        return F.cross_entropy(net(x), y, w)
    return len(x) * F.cross_entropy(net(x), y, w, reduction="none") / w[y].sum()


def physics_each(net: nn.Module, x: Tensor) -> Tensor:
    """The residual of u″ = −u with u = a·sin(wx + b) summed over hidden units, its derivatives by hand."""
    hidden: Any = net
    z = x @ hidden[0].weight.t() + hidden[0].bias
    u, bend = torch.sin(z), -torch.sin(z) * hidden[0].weight[:, 0] ** 2
    out = hidden[1]
    return (F.linear(bend, out.weight) + F.linear(u, out.weight, out.bias)).square().squeeze(1)


def unfused(inner: Loss) -> Loss:
    """Recurrent steps as separate operations: the fused kernel keeps no gates."""

    def loss(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "TF32 acceleration")  # of a flag that torch itself puts back
            with torch.backends.mkldnn.flags(enabled=False):
                return inner(net, x, y)

    return loss


def contrast(net: nn.Module, a: Tensor, b: Tensor, each: bool = False) -> Tensor:
    """Contrastive loss: each sample's logits are its products with all of the batch, so all samples interact."""
    u, v = F.normalize(net(a), dim=1), F.normalize(net(b), dim=1)
    logits = u @ v.t() / 0.5
    return F.cross_entropy(logits, torch.arange(len(a)), reduction="none" if each else "mean")


# GPT-2 starts with weights of 0.02: a direction of 0.1 would leave the reach of any series.
SMALL = 0.005

# -- rows -------------------------------------------------------------------------------------------------------------


def classes(name: str, build: Callable[[], nn.Module], *inputs: Draw, count: int = 3, **options: Any) -> Graph:
    return Graph(name, build, [*inputs, integers(count)(inputs[0].shape[0])], entropy, entropy_each, **options)


def language(name: str, build: Callable[[], nn.Module], length: int = 5, vocabulary: int = 7, **options: Any) -> Graph:
    tokens = integers(vocabulary)(3, length)
    return Graph(name, build, [tokens, tokens], token_entropy, token_entropy_each, **options)


def dense(*widths: int, activation: Callable[[], nn.Module] = nn.Tanh) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(a, b), activation()]
    return nn.Sequential(*layers[:-1])


def pre_norm() -> nn.Module:
    from curvestep.bench.networks.gpt import GPT

    return GPT(vocabulary=7, context=6, blocks=2, width=8, heads=2)


def normed(*norms: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 4, 3), norms[0], nn.SiLU(), nn.Conv2d(4, 4, 2), norms[1], nn.Flatten(),
                         nn.Linear(16, 3))  # fmt: skip


def still_batch_norm() -> nn.Module:
    net = nets.ResNet()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2.0)  # type: ignore[arg-type]
    return net.eval()


def part_frozen() -> nn.Module:
    net = dense(4, 6, 6, 3)
    net[0].requires_grad_(False)
    net[2].bias.requires_grad_(False)  # type: ignore[union-attr]
    return net


def encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
    return nn.Sequential(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Flatten(), nn.Linear(40, 3))


GRAPHS = [
    classes("dense tanh", lambda: dense(4, 6, 5, 3), normal(5, 4)),
    classes("dense relu", lambda: dense(4, 6, 5, 3, activation=nn.ReLU), normal(5, 4), smooth=False),
    classes("resnet, batch norm in training", nets.ResNet, normal(4, 2, 6, 6), count=5,
            whole="samples mix behind aten.native_batch_norm"),
    classes("resnet, batch norm in evaluation", still_batch_norm, normal(4, 2, 6, 6), count=5),
    classes("group and instance norm", lambda: normed(nn.GroupNorm(2, 4), nn.InstanceNorm2d(4, affine=True)),
            normal(3, 2, 5, 5)),
    classes("layer and batch norm, last layer coupled",
            lambda: nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, 3), nn.BatchNorm1d(3)),
            normal(5, 4), whole="samples mix behind aten.native_batch_norm"),
    language("pre-norm transformer", pre_norm, scale=SMALL),
    classes("post-norm transformer",
            lambda: nn.Sequential(nets.PostNorm(6, 2), nets.PostNorm(6, 3), nn.Flatten(), nn.Linear(24, 3)),
            normal(3, 4, 6)),
    classes("torch's own encoder, pre-norm", encoder, normal(3, 5, 8)),
    language("rotary decoder, grouped queries", nets.RotaryDecoder),
    classes("vision transformer with a class token", nets.Patches, normal(3, 1, 4, 4)),
    classes("attention in windows", nets.Windows, normal(3, 4, 4, 4)),
    Graph("u-net with skips", nets.UNet, [normal(3, 2, 4, 4), integers(3)(3, 4, 4)], entropy,
          lambda net, x, y: F.cross_entropy(net(x), y, reduction="none").mean((1, 2))),
    language("tied embeddings", nets.TiedLanguageModel),
    classes("in-place activations", nets.InPlace, normal(4, 4)),
    classes("writes into views", nets.WriteIntoViews, normal(4, 4)),
    classes("grouped and dilated convolutions", nets.Dilated, normal(3, 2, 11)),
    Graph("shared by depth", nets.Recurrence, [normal(4, 5), normal(4, 2)], squares, squares_each),
    classes("two inputs", nets.TwoInputs, normal(4, 1, 4, 4), normal(4, 3)),
    Graph("functional call", lambda: dense(4, 5, 3), [normal(4, 4), integers(3)(4)],
          lambda net, x, y: F.cross_entropy(called(net, x), y),
          lambda net, x, y: F.cross_entropy(called(net, x), y, reduction="none")),
    *[
        Graph(kind.__name__, functools.partial(nets.Recurrent, kind), [normal(3, 4, 3), integers(3)(3)],
              unfused(entropy), unfused(entropy_each))
        for kind in (nn.RNN, nn.LSTM, nn.GRU)
    ],
    classes("dropout", nets.WithDropout, normal(4, 4)),
    classes("weight norm by formula", nets.WeightNorm, normal(4, 4)),
    Graph("penalty on weights", lambda: dense(4, 5, 3), [normal(4, 4), integers(3)(4)],
          lambda net, x, y: entropy(net, x, y) + penalty(net),
          lambda net, x, y: entropy_each(net, x, y) + penalty(net)),
    classes("manual batch statistics", nets.ManualStatistics, normal(5, 4), whole="samples mix behind aten.sub"),
    classes("frozen layers", part_frozen, normal(4, 4)),
    classes("low-rank adapter", nets.LowRank, normal(4, 4)),
    Graph("unused output and parameters", nets.Unused, [normal(5, 4), integers(4)(5)], first_output,
          functools.partial(first_output, each=True)),
    classes("mixture of experts, soft", nets.Experts, normal(4, 4)),
    Graph("variational autoencoder", nets.Autoencoder, [normal(4, 5), normal(4, 2)], mean_of(variational_each),
          variational_each),
    Graph("label smoothing", lambda: dense(4, 5, 3), [normal(5, 4), integers(3)(5)], smoothed, smoothed_each),
    Graph("class weights", lambda: dense(4, 5, 3), [normal(5, 4), integers(3)(5)], weighted,
          functools.partial(weighted, each=True)),
    Graph("binary targets", lambda: dense(4, 5, 2), [normal(4, 4), unit(4, 2)],
          lambda net, x, y: F.binary_cross_entropy_with_logits(net(x), y),
          lambda net, x, y: F.binary_cross_entropy_with_logits(net(x), y, reduction="none").mean(1)),
    Graph("differential equation", lambda: nn.Sequential(nn.Linear(1, 6), nn.Linear(6, 1)), [normal(7, 1)],
          mean_of(physics_each), physics_each),
    Graph("contrastive loss", lambda: dense(4, 5, 3), [normal(5, 4), normal(5, 4)], contrast,
          functools.partial(contrast, each=True), exact=False, whole="samples mix, or their axis is lost"),
]  # fmt: skip


# -- the tasks of the command line, narrow ---------------------------------------------------------------------------


def task_network(name: str) -> nn.Module:
    """The small network of a task; wide ones are cut, so that double backward sample by sample takes a second."""
    from curvestep.bench.networks.specs import DenseSpec, GPTSpec, LSTMSpec, ResNetSpec, VGG11Spec, VGG19Spec, ViTSpec
    from curvestep.bench.tasks import TASKS

    spec = TASKS[name].scales["small"].network
    if isinstance(spec, DenseSpec):
        inner = [max(2, w // 8) for w in spec.widths[1:-1]]
        last = spec.widths[-1] if spec.widths[-1] != spec.widths[0] else 784 // 16
        first = spec.widths[0] if spec.widths[0] < 100 else 784 // 16
        spec = DenseSpec((first, *inner, last), spec.activation, spec.linear_at)
    elif isinstance(spec, VGG11Spec):
        spec = VGG11Spec(2, spec.classes, spec.beta)  # a memory shows its first batch as it is
    elif isinstance(spec, VGG19Spec):
        spec = VGG19Spec(2, 10, spec.beta, halved=True)
    elif isinstance(spec, ResNetSpec):
        spec = ResNetSpec(2, spec.blocks, spec.classes, spec.stem_stride, spec.normalised)
    elif isinstance(spec, ViTSpec):
        spec = ViTSpec(14, spec.channels, 7, spec.blocks, 16, spec.heads, spec.classes)
    elif isinstance(spec, LSTMSpec):
        spec = LSTMSpec(11, 8, spec.layers)
    else:
        assert isinstance(spec, GPTSpec)
        spec = GPTSpec(11, 6, spec.blocks, 16, 4)
    return spec.build()


def task(name: str, *inputs: Draw, **options: Any) -> Graph:
    return classes(f"task {name}", functools.partial(task_network, name), *inputs, count=10, **options)


TASK_GRAPHS = [
    task("digits-mlp", normal(3, 64)),
    task("mnist-lenet", normal(3, 49)),
    # elu has a jump in its second derivative, pooling a kink
    Graph("task mnist-autoencoder", functools.partial(task_network, "mnist-autoencoder"), [unit(3, 49), unit(3, 49)],
          squares, squares_each, smooth=False),
    task("cifar10-vgg11", normal(2, 3, 32, 32), smooth=False),
    task("cifar10-vgg11-relu", normal(2, 3, 32, 32), smooth=False),
    task("cifar10-vgg11-memory", normal(2, 3, 32, 32), smooth=False),
    task("cifar100-vgg19", normal(2, 3, 32, 32), smooth=False),
    task("cifar100-vgg19-memory", normal(2, 3, 32, 32), smooth=False),
    task("linear-probe", normal(3, 64)),
    task("linear-probe-tricks", normal(3, 64)),
    task("cifar10-resnet", normal(3, 3, 16, 16), smooth=False, whole="samples mix behind"),
    task("cifar10-resnet-plain", normal(3, 3, 16, 16), smooth=False),
    task("mnist-vit", normal(3, 1, 14, 14), scale=SMALL),
    task("mnist-stream", normal(3, 49)),
    language("task shakespeare-gpt", functools.partial(task_network, "shakespeare-gpt"), length=6, vocabulary=11,
             scale=SMALL),
    Graph("task shakespeare-lstm", functools.partial(task_network, "shakespeare-lstm"),
          [integers(11)(3, 6), integers(11)(3, 6)], unfused(token_entropy), unfused(token_entropy_each)),
]  # fmt: skip
