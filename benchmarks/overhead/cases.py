"""The networks and batches on which the overhead is measured."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, final

from curvestep.bench.errors import SettingError
from curvestep.bench.networks.specs import DenseSpec, GPTSpec, LSTMSpec, NetworkSpec, ResNetSpec, VGG11Spec, ViTSpec

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

_TOKENS = 65
Set = Literal["quick", "standard", "full", "growth", "compiled", "cuda"]


@final
@dataclass(frozen=True)
class CaseSpec:
    """A network with the size of its batch.

    Args:
        name: in tables.
        network: its numbers.
        batch: number of samples.
        shape: of one sample; of a sequence of tokens its length alone.
        sets: in which selections it is.
        axis: what of it is varied to see how the cost grows.
        value: the value of that.
        at_once: how many samples float64 is asked for at once, where all would not fit; 0 for all.
        checked: on how many of the first samples errors are measured, where all would take minutes; 0 for all.
    """

    name: str
    network: NetworkSpec
    batch: int
    shape: tuple[int, ...]
    sets: tuple[Set, ...]
    axis: str = ""
    value: int = 0
    at_once: int = 0
    checked: int = 0

    def build(self, device: torch.device) -> Case:
        """The network with one batch, the same numbers each time."""
        import torch

        torch.manual_seed(0)
        network = self.network.build()
        if isinstance(self.network, (GPTSpec, LSTMSpec)):
            inputs = torch.randint(0, _TOKENS, (self.batch, *self.shape))
            targets = torch.randint(0, _TOKENS, (self.batch, *self.shape))
        else:
            inputs = torch.randn(self.batch, *self.shape)
            targets = torch.randint(0, 10, (self.batch,))
        return Case(network.to(device), inputs.to(device), targets.to(device))


@final
@dataclass(frozen=True)
class Case:
    """A network with one batch.

    Args:
        network: in training mode.
        inputs: the batch.
        targets: class numbers, shaped like the logits without their last axis.
    """

    network: nn.Module
    inputs: Tensor
    targets: Tensor

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What is trained."""
        return list(self.network.parameters())

    def loss(self) -> Tensor:
        """Mean cross-entropy over all predictions."""
        from curvestep.bench.measure import cross_entropy

        return cross_entropy(self.network(self.inputs), self.targets)


@contextlib.contextmanager
def differentiable_kernels(case: Case) -> Iterator[None]:
    """Kernels that autograd can differentiate twice: the fused ones of attention and recurrence cannot be."""
    import torch
    from torch import nn
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with contextlib.ExitStack() as stack:
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        if any(isinstance(module, nn.RNNBase) for module in case.network.modules()):
            stack.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", "TF32 acceleration")  # of a flag that torch itself puts back
            stack.enter_context(torch.backends.mkldnn.flags(enabled=False))
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        yield


def _gpt(sets: tuple[Set, ...], *, blocks: int, width: int, heads: int, length: int, batch: int) -> CaseSpec:
    spec = GPTSpec(_TOKENS, length, blocks, width, heads)
    return CaseSpec(f"GPT {blocks}×{width}, T{length}, B{batch}", spec, batch, (length,), sets)


def _resnet18(sets: tuple[Set, ...], *, stem_stride: int, batch: int) -> CaseSpec:
    spec = ResNetSpec(64, 2, 10, stem_stride, normalised=True, stages=4)
    return CaseSpec(f"ResNet-18, batch norm, stem stride {stem_stride}, B{batch}", spec, batch, (3, 32, 32), sets)


_VGG = VGG11Spec(64, 10, beta=5.0)
_IMAGE = (3, 32, 32)

CASES: tuple[CaseSpec, ...] = (
    CaseSpec(
        "MLP 784-300-100-10, B256", DenseSpec((784, 300, 100, 10), "tanh"), 256, (784,),
        ("quick", "standard", "full", "compiled", "cuda"),
    ),
    CaseSpec("VGG11, softplus, B64", _VGG, 64, _IMAGE, ("standard", "full", "compiled", "cuda")),
    CaseSpec("VGG11, softplus, B256", _VGG, 256, _IMAGE, ("standard", "full", "cuda"), checked=32),
    _resnet18(("standard", "full", "compiled"), stem_stride=2, batch=32),
    _resnet18(("cuda",), stem_stride=1, batch=256),
    _gpt(("quick", "standard", "full", "compiled", "cuda"), blocks=4, width=128, heads=4, length=64, batch=16),
    replace(_gpt(("cuda",), blocks=12, width=768, heads=12, length=1024, batch=8), at_once=1),
    CaseSpec(
        "ViT 6×192, 49 patches, B16", ViTSpec(28, 1, 4, 6, 192, 6, 10), 16, (1, 28, 28), ("standard", "full", "cuda")
    ),
    CaseSpec("LSTM 256, T64, B32", LSTMSpec(_TOKENS, 256, 1), 32, (64,), ("standard", "full", "cuda")),
)  # fmt: skip


def growth() -> tuple[CaseSpec, ...]:
    """GPTs around 4×128, T64, B16: one of width, depth, batch and length is varied at a time."""
    found = []
    for axis, values in (
        ("width", (64, 128, 256, 512)),
        ("depth", (2, 4, 8, 16)),
        ("batch", (4, 16, 64)),
        ("length", (32, 64, 128, 256)),
    ):
        for value in values:
            numbers = {"width": 128, "depth": 4, "batch": 16, "length": 64, axis: value}
            spec = _gpt(
                (),
                blocks=numbers["depth"],
                width=numbers["width"],
                heads=4,
                length=numbers["length"],
                batch=numbers["batch"],
            )
            found.append(replace(spec, name=f"GPT, {axis} {value}", axis=axis, value=value))
    return tuple(found)


def chosen(size: Set, names: str = "") -> tuple[CaseSpec, ...]:
    """The cases of a selection.

    Args:
        size: which.
        names: parts of names as in `parts_of`, which are looked for in all cases; empty for the selection.

    Returns:
        The cases in the order of the table.

    Raises:
        SettingError: if a part is in no name.
    """
    parts = parts_of(names)
    if not parts:
        return growth() if size == "growth" else tuple(spec for spec in CASES if size in spec.sets)
    everything = (*CASES, *growth())
    for part in parts:
        if not any(part in spec.name.casefold() for spec in everything):
            listed = "; ".join(spec.name for spec in CASES)
            raise SettingError(f"No network of the overhead has {part!r} in its name; they are {listed}.")
    return tuple(spec for spec in everything if any(part in spec.name.casefold() for part in parts))


def parts_of(names: str) -> list[str]:
    """Parts of names in lower case.

    Args:
        names: separated by commas, or by semicolons where there is one: names have commas.

    Returns:
        The parts, none of them empty.
    """
    parts = [part.strip().casefold() for part in names.split(";" if ";" in names else ",")]
    return [part for part in parts if part]
