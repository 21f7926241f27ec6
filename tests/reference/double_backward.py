"""A tape whose curvature comes from double backward, sample by sample: slow, obvious, and independent of the engine.

It understands losses that end in ``vector.mean()`` over a 1-d tensor with one entry per sample, or in
``cross_entropy`` / ``mse_loss`` with the mean reduction; anything else counts as one sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from curvestep.engine.data.recording import Recording


@dataclass(frozen=True)
class DoubleBackwardCurvature:
    total: Tensor
    slope: Tensor
    per_sample: Tensor | None
    per_sample_exact: bool
    source: str = "double backward"


class DoubleBackwardTape:
    def __init__(self) -> None:
        self.roots: list[Tensor] = []
        self.vectors: dict[int, tuple[Tensor, Tensor]] = {}
        self.released = False
        self.recording = Recording()  # where an optimizer notes that it is about to measure

    @property
    def backwards(self) -> int:
        return len(self.roots)

    def require_backward(self) -> None:
        from curvestep._errors import RecordingError

        if len(self.roots) != 1:
            raise RecordingError(f"One backward pass inside the recording was needed, but {len(self.roots)} ran.")

    @property
    def loss(self) -> Tensor:
        return self.roots[0].detach()

    @property
    def per_sample_losses(self) -> Tensor:
        loss = self.roots[0]
        return self.vectors[id(loss)][1] if id(loss) in self.vectors else loss.reshape(1)

    @property
    def batch_size(self) -> int:
        return len(self.per_sample_losses)

    def curvature(
        self,
        params: Sequence[Tensor],
        direction: Sequence[Tensor],
        *,
        samples: float | None,
        kind: str,
        precision: str,
        part: int = 0,
    ) -> DoubleBackwardCurvature:
        assert samples is None and kind == "exact", "The reference measures every sample's own second derivative."
        assert precision == "recorded", "The reference computes in the dtype of the parameters."
        self.require_backward()
        second, first = [], []
        with torch.enable_grad():
            for sample_loss in self.per_sample_losses:
                slope, curvature = directional_derivatives(sample_loss, params, direction)
                first.append(slope)
                second.append(curvature)
        per_sample = torch.stack(second)
        return DoubleBackwardCurvature(per_sample.mean(), torch.stack(first).mean(), per_sample, True)

    def release(self) -> None:
        self.released = True
        self.roots.clear()
        self.vectors.clear()


def directional_derivatives(
    loss: Tensor, params: Sequence[Tensor], direction: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """First and second derivative of ``loss`` at θ along d, by differentiating ⟨∇loss, d⟩ once more."""
    gradients = torch.autograd.grad(loss, list(params), create_graph=True, allow_unused=True)
    slope = sum(
        (torch.sum(g * d) for g, d in zip(gradients, direction, strict=True) if g is not None), loss.new_zeros(())
    )
    if not slope.requires_grad:
        return slope.detach(), torch.zeros_like(slope)
    products = torch.autograd.grad(slope, list(params), retain_graph=True, allow_unused=True)
    curvature = sum(
        (torch.sum(h * d) for h, d in zip(products, direction, strict=True) if h is not None), loss.new_zeros(())
    )
    return slope.detach(), curvature.detach()


class _Watch(TorchFunctionMode):
    def __init__(self, tape: DoubleBackwardTape) -> None:
        super().__init__()
        self.tape = tape

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.backward:
            self.tape.roots.append(args[0])
            return func(*args, **{**kwargs, "retain_graph": True})
        out = func(*args, **kwargs)
        if func in (torch.Tensor.mean, torch.mean) and args[0].dim() == 1:
            self.tape.vectors[id(out)] = (out, args[0])
        elif func in (torch.nn.functional.cross_entropy, torch.nn.functional.mse_loss):
            unreduced = func(*args, **{**kwargs, "reduction": "none"})
            self.tape.vectors[id(out)] = (out, unreduced.reshape(len(unreduced), -1).mean(dim=1))
        return out


@contextmanager
def record(
    batch_size: int | None = None, *, samples: Tensor | None = None, memory: str | float = "keep"
) -> Iterator[DoubleBackwardTape]:
    del batch_size, samples, memory  # it holds autograd's graph, all of it
    tape = DoubleBackwardTape()
    with _Watch(tape):
        yield tape
