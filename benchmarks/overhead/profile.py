"""What ran, as torch's profiler saw it: multiply-adds of products, and the peak of allocated bytes."""

from __future__ import annotations

import gc
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch

# Kernels whose products the profiler's shapes do not show.
_HIDDEN = ("aten::mkldnn_rnn_layer", "aten::_cudnn_rnn", "aten::_thnn_fused_lstm_cell", "aten::_thnn_fused_gru_cell")
_ATTENTION = (
    "aten::_scaled_dot_product_flash_attention_for_cpu",
    "aten::_scaled_dot_product_flash_attention",
    "aten::_scaled_dot_product_efficient_attention",
    "aten::_scaled_dot_product_cudnn_attention",
)
_MATRIX = ("aten::mm", "aten::bmm")
_ADDED = ("aten::addmm", "aten::baddbmm", "aten::addmm_", "aten::baddbmm_")
_COUNTED = {
    *_MATRIX,
    *_ADDED,
    *("aten::convolution", "aten::convolution_backward"),
    *_ATTENTION,
    *(f"{name}_backward" for name in _ATTENTION),
}


@final
@dataclass(frozen=True)
class Profile:
    """What a run did.

    Args:
        peak: the most bytes allocated at once, above what was held before.
        products: multiply-adds of matrix products, convolutions and fused attention, products with a vector left out;
            None where a kernel ran that hides its own.
    """

    peak: int
    products: int | None


def execute(run: Callable[[], object], device: torch.device, before: Callable[[], None] | None = None) -> Profile:
    """Run twice under torch's profiler, which sees every operation and tensor, those inside fused passes too.

    Twice, because where shapes are noted, tensors of transforms live longer than they do without.

    Args:
        run: a step.
        device: whose memory counts.
        before: called before each.

    Returns:
        What was done.
    """
    if before is not None:
        before()
    peak = _peak_on_accelerator(run, device) if device.type == "cuda" else peak_bytes(run)
    if before is not None:
        before()
    return Profile(peak, multiply_adds(run))


def multiply_adds(run: Callable[[], object]) -> int | None:
    """Run once and count, as in `Profile.products`."""
    events = _profiled(run, record_shapes=True)
    if any(event.name() in _HIDDEN for event in events):
        return None
    return sum(_size(event) for event in _innermost([event for event in events if event.name() in _COUNTED]))


def _profiled(run: Callable[[], object], *, record_shapes: bool = False, profile_memory: bool = False) -> list[Any]:
    """What the profiler saw."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or each profile says on the error stream that it began and ended
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=record_shapes, profile_memory=profile_memory
    ) as seen:
        run()
    results: Any = seen.profiler
    return list(results.kineto_results.events())


def _peak_on_accelerator(run: Callable[[], object], device: torch.device) -> int:
    """The peak as the allocator of the accelerator counts it."""
    gc.collect()
    torch.cuda.synchronize(device)
    held = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    run()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - held


def peak_bytes(run: Callable[[], object]) -> int:
    """The most bytes that torch's allocator had handed out at once during a run, above what was held before it.

    Returns:
        The peak of the running sum of the profiler's memory events, which see every tensor, those of kernels and of
        passes that switch dispatch modes off too.
    """
    gc.collect()
    events = _profiled(run, profile_memory=True)
    held = peak = 0
    for event in sorted((event for event in events if event.name() == "[memory]"), key=lambda each: each.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def _innermost(events: Sequence[Any]) -> Iterator[Any]:
    """Those that no other lies inside of: a call that a dispatch mode or a transform hands on is seen at each level."""
    threads: dict[int, list[Any]] = {}
    for event in events:
        threads.setdefault(event.start_thread_id(), []).append(event)
    for own in threads.values():
        own.sort(key=lambda event: (event.start_ns(), -event.duration_ns()))
        for event, following in zip(own, [*own[1:], None], strict=True):
            if following is None or following.start_ns() >= event.start_ns() + event.duration_ns():
                yield event


def _size(event: Any) -> int:
    """Multiply-adds of one operation."""
    name: str = event.name()
    shapes: list[Sequence[int]] = event.shapes()
    if name in _MATRIX:
        return math.prod(shapes[0]) * shapes[1][-1]
    if name in _ADDED:
        return math.prod(shapes[1]) * shapes[2][-1]
    if name == "aten::convolution":
        _, _, _, stride, padding, dilation, transposed = event.concrete_inputs()[:7]
        size = _convolved(shapes[0], shapes[1], stride, padding, dilation)
        # every output takes (every input gives, if transposed) one multiply-add for each weight of its channel
        outputs = shapes[0] if transposed else (shapes[0][0], shapes[1][0], *size)
        return math.prod(outputs) * math.prod(shapes[1][1:])
    if name == "aten::convolution_backward":
        inputs = event.concrete_inputs()
        transposed, mask = inputs[7], inputs[10]
        rows = shapes[1] if transposed else shapes[0]
        return math.prod(rows) * math.prod(shapes[2][1:]) * (bool(mask[0]) + bool(mask[1]))
    forward = name.removesuffix("_backward")
    assert forward in _ATTENTION
    # forward QKᵀ, PV; backward, whose first argument is the cotangent, QKᵀ again and one each for V, P, Q, K
    query, key = shapes[1:3] if forward != name else shapes[0:2]
    return math.prod(query) * key[-2] * (5 if forward != name else 2)


def _convolved(
    inputs: Sequence[int], weight: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> list[int]:
    """Spatial size of a convolution's output."""
    sizes = []
    for i, length in enumerate(inputs[2:]):
        reach = dilation[i % len(dilation)] * (weight[2 + i] - 1) + 1
        sizes.append((length + 2 * padding[i % len(padding)] - reach) // stride[i % len(stride)] + 1)
    return sizes
