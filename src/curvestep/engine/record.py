"""Recording a forward and its backward, for the questions that `Tape` answers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Literal

import torch
from torch import Tensor

from curvestep._errors import RecordingError
from curvestep.engine.data.recording import Products, Recording
from curvestep.engine.data.samples import Owners
from curvestep.engine.data.slot import BackwardLog
from curvestep.engine.recording.hooks import wrap_hooks
from curvestep.engine.recording.recorder import Recorder, open_recorder
from curvestep.engine.recording.steps import watch_steps
from curvestep.engine.recording.unobserved import begin_watching, end_watching
from curvestep.engine.tape import Tape

Memory = Literal["keep", "split"]
_PRODUCTS = {"auto": Products.AUTO, "naive": Products.NAIVE, "polarised": Products.POLARISED}


@contextmanager
def record(
    batch_size: int | None = None,
    *,
    samples: Tensor | None = None,
    memory: Memory | float = "keep",
    products: Literal["auto", "naive", "polarised"] = "auto",
) -> Iterator[Tape]:
    """Record the forward and backward run in the block, for exact curvature along any direction afterwards.

    Args:
        batch_size: the number of samples, where it cannot be read off the first axis of the first data tensor that
            meets a parameter (data with time first, say). Samples then lie along the first axis of this size.
        samples: which sample each row of the leading axis of the inputs belongs to, shape (N,), int64 or int32, from 0
            to B − 1 (`batch_size`, or max(samples) + 1 of them): for graphs of unequal size, packed sequences, experts
            that take some of the rows. `per_sample` then has B entries. Rows that are gathered or added by an index
            (messages along edges, pooling) stay with their samples where it leads from rows of one sample to rows of
            the same; elsewhere the split is not called exact, and of a part of the samples the whole is measured. All
            these indices are read on the host.
        memory: "keep" holds the values and cotangents that the rules need, which about doubles the activations held.
            A number in [0, ∞) holds the values, and of the cotangents those nearest to the loss, as many as take this
            share of the bytes that the values take; below that cut the pass carries second-order terms up to it, for
            one product a layer more; 0 keeps none. "split" holds neither, but parameters, data and random masks alone:
            a pass computes each value again where it needs it and drops it, for a forward and that product more. It is
            what a recording becomes that reads a parameter of `fully_shard`, whose memory is given back meanwhile.
        products: how many products a pass takes for a matrix product or convolution y = W x in which both factors
            move: "naive" three, W ẋ, V x and V ẋ; "polarised" two, V ẋ and one from which, with the kept y, the sum of
            the others follows exactly; "auto" two where that is expected to be quicker (large ones, float32 and
            float64, memory="keep"), else three.

    Yields:
        The `Tape`, whose passes work once the block has called `loss.backward()`.

    Raises:
        RecordingError: another recording is open in this thread.
        ValueError: `memory` or `products` is none of these, `batch_size` is no whole number of at least 1, or `samples`
            are no numbers of samples.

    Cost:
        A few microseconds an operation; the tape holds the inputs and cotangents that the rules need until
        `tape.release()`, and on the CPU a copy of the gradient, with which passes over the whole batch are compared.

    Source: de Gournay & Gossard (2022), section 3.3 for the split.

    Deviations: the source cuts the net in two and recomputes; here what has no cotangent is carried forward (equation
        21), which needs no second backward, and "split" computes the values again along with the tangents.

    Example:
        >>> import torch, curvestep
        >>> w = torch.tensor([2.0], requires_grad=True)
        >>> with curvestep.record() as tape:
        ...     loss = (w**3).sum()
        ...     loss.backward()
        >>> tape.curvature([w], [torch.ones(1)]).total.item()  # 6 w
        12.0
    """
    if batch_size is not None and (isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1):
        raise ValueError(f"batch_size must be a whole number of at least 1, but batch_size={batch_size!r} was given.")
    owners = None if samples is None else _owners(samples, batch_size)
    share = _share(memory)
    if products not in _PRODUCTS:
        raise ValueError(f"products must be one of {', '.join(_PRODUCTS)}, but products={products!r} was given.")
    if open_recorder() is not None:
        raise RecordingError(
            "One recording at a time was needed, but another one is still open. Leave the outer `with record():` "
            "block before starting a new one."
        )
    wrap_hooks(_open_log)
    if owners is not None:
        batch_size = max(owners.numbers) + 1 if batch_size is None else batch_size
        owners = None if owners.numbers == tuple(range(batch_size)) else owners
    recording = Recording(batch_size, share, _PRODUCTS[products])
    recording.owners = owners
    recording.replays = memory == "split"
    recorder = Recorder(recording)
    torch.clear_autocast_cache()  # a weight that was cast before would come in with a gradient graph of its own
    stance = _force_eager()
    begin_watching(recorder)
    try:
        with recorder:
            yield Tape(recording)
    finally:
        end_watching(recorder)
        if stance is not None:
            stance.__exit__(None, None, None)
        recorder.finish()
        watch_steps(recording)


def join(batch_size: int | None = None, *, measures: bool = False) -> Tape | None:
    """A tape of its own of the recording that is open in this thread.

    Args:
        batch_size: as in `record`.
        measures: whether it will be measured on: a recording that spared itself what that needs holds it from here on.

    Returns:
        The tape; None where no recording is open.

    Raises:
        RecordingError: both state a number of samples, and not the same.
    """
    recorder = open_recorder()
    if recorder is None:
        return None
    recording = recorder.recording
    if batch_size is not None and recording.stated_batch_size not in (None, batch_size):
        raise RecordingError(
            f"One number of samples for the whole recording was needed, but {recording.stated_batch_size} and "
            f"{batch_size} were stated. Give both the same batch_size."
        )
    recording.stated_batch_size = batch_size or recording.stated_batch_size
    if measures and recording.spared and not recording.nodes:
        recording.replays = recording.spared = False
    return Tape(recording)


def _owners(samples: Tensor, batch_size: int | None) -> Owners:
    """The sample of each row; refuse what names none."""
    numbers: tuple[int, ...] = ()
    if isinstance(samples, Tensor) and samples.dim() == 1 and samples.dtype in (torch.int64, torch.int32):
        numbers = tuple(samples.tolist())
    if not numbers or min(numbers) < 0 or (batch_size is not None and max(numbers) >= batch_size):
        given = f"shape {tuple(samples.shape)}, {samples.dtype}" if isinstance(samples, Tensor) else repr(samples)
        within = "0 on" if batch_size is None else f"0 to {batch_size - 1}"
        raise ValueError(
            "samples must be a tensor of shape (N,) of int64 or int32 that has, for each of N rows, the number of its "
            f"sample, from {within}, but {given} was given."
        )
    return Owners(numbers)


def _open_log() -> BackwardLog | None:
    recorder = open_recorder()
    return None if recorder is None else recorder.recording.log


def _force_eager() -> AbstractContextManager[object] | None:
    """Have compiled code run its operations one by one, where the recorder sees them; fullgraph=True would raise.

    Returns:
        What ends that; None where nothing can be compiled.
    """
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else None


def _share(memory: Memory | float) -> float | None:
    """The share of bytes that `memory` stands for; None for all."""
    if memory in ("keep", "split"):
        return None
    if isinstance(memory, (int, float)) and not isinstance(memory, bool) and memory >= 0:
        return float(memory)
    raise ValueError(f"memory must be 'keep', 'split' or a share of at least 0, but memory={memory!r} was given.")
