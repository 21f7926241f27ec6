"""Time and memory of steps that measure against a plain one, taken in turn on the same batch."""

from __future__ import annotations

import os
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from curvestep._errors import CurvestepError
from curvestep._records import Outcome
from curvestep.diagnostics.findings import Measurement
from curvestep.optim import Auto, RescaledSGD
from curvestep.optim._average import WINDOW_GROWTH
from curvestep.optim._windowed import WINDOW_OFFSET
from curvestep.steprules import Windows

REPETITIONS = 5

# The length of the run of which it is said how often a window ends.
_CALLS = 1000


def measure_steps(
    compute: Callable[[], Tensor],
    parameters: Sequence[Tensor],
    start: Callable[[], None],
    resident: int,
    progress: Callable[[str], None],
) -> Measurement:
    """Return median times and peaks of memory of three kinds of step, ``resident`` bytes of parameters included.

    Of `Auto` they are those of a window's end: after its first window it has windows of one step, so that every call
    ends one.
    """
    device = parameters[0].device

    sgd, rescaled, auto = torch.optim.SGD(parameters, lr=0.0), RescaledSGD(parameters), Auto(parameters)
    windows = Windows(auto.param_groups[0][WINDOW_GROWTH], auto.param_groups[0][WINDOW_OFFSET])
    every, first = round(_CALLS / windows.ends_within(_CALLS)), windows.end(0)
    for group in auto.param_groups:
        group[WINDOW_GROWTH], group[WINDOW_OFFSET] = 1.0, 1

    def plain() -> None:
        sgd.zero_grad()
        compute().backward()
        sgd.step()

    def measured(optimizer: Auto | RescaledSGD) -> None:
        optimizer.zero_grad()
        with optimizer.record():
            compute().backward()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # an unknown batch size is among the notes
            optimizer.step()

    def window_end() -> None:
        measured(auto)

    kinds = [plain, lambda: measured(rescaled)]
    refusal: str | None = None
    try:
        for _ in range(first + 1):
            start()
            measured(auto)
        assert auto.last_step is not None, "It was asked to step."
        if auto.last_step.outcome is Outcome.WINDOW_ENDED:
            kinds.append(window_end)
        else:
            refusal = f"no window of steps has ended. {auto.last_step.outcome.value}"
    except CurvestepError as error:
        refusal = str(error)
    seconds: list[list[float]] = [[] for _ in kinds]
    for repetition in range(REPETITIONS + 1):
        progress(f"time of a step, {repetition + 1} of {REPETITIONS + 1}")
        for step, taken in zip(kinds, seconds, strict=True):
            start()
            _wait(device)
            begun = time.perf_counter()
            step()
            _wait(device)
            if repetition > 0:
                taken.append(time.perf_counter() - begun)
    peaks: list[int | None] = []
    for step in kinds:
        progress("memory of a step")
        start()
        peaks.append(_peak(step, device))
    most = [None if peak is None else peak + resident for peak in peaks]
    times = [statistics.median(taken) for taken in seconds]
    return Measurement(
        repetitions=REPETITIONS,
        plain_seconds=times[0],
        measured_seconds=times[1],
        auto_seconds=None if refusal else times[2],
        auto_every=every,
        plain_bytes=most[0],
        measured_bytes=most[1],
        auto_bytes=None if refusal else most[2],
        auto_refusal=refusal,
    )


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _peak(step: Callable[[], None], device: torch.device) -> int | None:
    """The most bytes that a step holds at once beyond what was there before; None where nothing tells."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()
        return torch.cuda.max_memory_allocated(device) - before
    if device.type != "cpu" or torch.autograd._profiler_enabled():  # a profiler in use cannot be entered twice
        return None
    with _quiet_profiler(), torch.autograd.profiler.profile(profile_memory=True) as profile:
        step()
    results: Any = profile.kineto_results  # pyright: ignore[reportOptionalMemberAccess]
    if results is None:
        return None
    held = most = 0
    for event in results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most


_LEVEL = "KINETO_LOG_LEVEL"


def _quiet_profiler() -> AbstractContextManager[Any]:
    """The profiler's library announces its first start on the error stream unless this variable says otherwise."""
    if _LEVEL in os.environ:
        return nullcontext()

    class Quiet:
        def __enter__(self) -> None:
            os.environ[_LEVEL] = "99"

        def __exit__(self, *error: object) -> None:
            os.environ.pop(_LEVEL, None)

    return Quiet()
