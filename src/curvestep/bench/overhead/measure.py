"""The overhead of one way on one network: interleaved times, peaks, products, and how exact its curvature is."""

from __future__ import annotations

import gc
import statistics
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor

from curvestep.bench.environment import revision
from curvestep.bench.overhead.accuracy import Reference, error_of
from curvestep.bench.overhead.counted import Counted, count
from curvestep.bench.overhead.executed import Executed, execute
from curvestep.bench.overhead.ours import plain
from curvestep.bench.overhead.prepared import NotApplicable, Prepared
from curvestep.bench.overhead.quiet import Waiting
from curvestep.bench.overhead.row import Row
from curvestep.bench.overhead.source import digest

if TYPE_CHECKING:
    from curvestep.bench.overhead.subjects import Subject, SubjectSpec
    from curvestep.bench.overhead.ways import Way

_FEWEST, _MOST = 3, 101


@final
@dataclass(frozen=True)
class Clock:
    """Times runs on a device.

    Args:
        device: waited for before each reading.
        seconds: how long the pairs of one row may take; at least three are timed.
    """

    device: torch.device
    seconds: float

    def time(self, run: Callable[[], None], times: int = 1) -> float:
        """Seconds of one of so many runs in a row."""
        self._wait()
        start = time.perf_counter()
        for _ in range(times):
            run()
        self._wait()
        return (time.perf_counter() - start) / times

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def pairs(
        self, first: Callable[[], None], second: Prepared, again: Callable[[], None]
    ) -> tuple[list[float], list[float]]:
        """Times of the plain step and of the way, in turn, the one that comes first alternating.

        Args:
            first: the plain step. On an accelerator it is repeated as often as the way, so that both wait for the
                device once in so many steps.
            second: the way; where one of its steps can be asked to measure, that is timed, and one that does not.
            again: puts everything back, outside the clock.

        Returns:
            Seconds of each, pair by pair.
        """
        plain_times: list[float] = []
        times: list[float] = []
        together = second.period if second.measured is None else 1
        repeated = together if self.device.type == "cuda" else 1
        end = time.perf_counter() + self.seconds
        while len(times) < _FEWEST or (len(times) < _MOST and time.perf_counter() < end):
            for turn in (0, 1) if len(times) % 2 == 0 else (1, 0):
                again()
                if turn == 0:
                    plain_times.append(self.time(first, repeated))
                else:
                    times.append(self._of_a_period(second, together, again))
        return plain_times, times

    def _of_a_period(self, way: Prepared, together: int, again: Callable[[], None]) -> float:
        """Seconds of a step in the mean of a period."""
        usual = self.time(way.step, together)
        if way.measured is None:
            return usual
        again()
        return usual + (self.time(way.measured) - usual) / way.period


@final
@dataclass
class Known:
    """What rows of the same network share, measured once.

    Attributes:
        plains: what plain steps do, by optimizer.
        counted: the products counted beforehand.
        reference: the curvature in float64.
    """

    plains: dict[str, Executed] = field(default_factory=dict)
    counted: Counted | None = None
    reference: Reference | None = None


def measure(spec: SubjectSpec, way: Way, machine: str, clock: Clock, known: Known | None = None) -> Row:
    """One row.

    Args:
        spec: network and batch.
        way: of taking a step.
        machine: as in the row.
        clock: how it is timed.
        known: what earlier rows of this network have found; added to.

    Returns:
        The row; where the way does not apply, one that says why.
    """
    said: dict[str, Any] = {
        "machine": machine,
        "subject": spec.name,
        "method": way.name,
        "gives": way.gives,
        "baseline": way.baseline,
        "axis": spec.axis,
        "value": spec.value,
        "batch": spec.batch,
        "revision": revision(),
        "source": digest(way.depends),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other libraries, and of batches that mix: tables say what they cost
        try:
            return Row(**said, **_measured(spec, way, clock, Known() if known is None else known))
        except NotApplicable as reason:
            return Row(**said, skipped=str(reason))
        except torch.OutOfMemoryError:
            return Row(**said, skipped="does not fit into the memory of the device")
        except (RuntimeError, NotImplementedError, AttributeError, ValueError) as error:
            return Row(**said, skipped=f"{type(error).__name__}: {_first_line(error)}")
        finally:
            release(clock.device)


def _measured(spec: SubjectSpec, way: Way, clock: Clock, known: Known) -> dict[str, Any]:
    """The numbers of a row."""
    subject = spec.build(clock.device)
    first = plain(way.baseline, subject)
    again = _keeper(subject)
    prepared = way.prepare(subject)
    with _nothing_compiled_yet() if prepared.is_compiled else nullcontext():
        kinds = [prepared.step] if prepared.measured is None else [prepared.measured, prepared.step]
        warm = sum(clock.time(step) for step in kinds for _ in range(prepared.warmup))
    again()
    first()
    gc.collect()
    waiting = Waiting()
    plain_times, times = clock.pairs(first, prepared, again)
    waited = waiting.share()
    ratios = [b / a for a, b in zip(plain_times, times, strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
    compiling = max(0.0, warm - prepared.warmup * len(kinds) * statistics.median(times))

    # Put back before each: gradients that are still held would be freed inside, and hide as much of the peak.
    done = _done(prepared, clock.device, again)
    plainly = known.plains.get(way.baseline)
    if plainly is None:
        plainly = known.plains[way.baseline] = execute(first, clock.device, again)
    products = None
    if done.products is not None and plainly.products and not prepared.is_compiled:  # compiled loops hide theirs
        products = done.products / plainly.products
    again()
    return {
        "pairs": len(ratios),
        "low": low,
        "median": median,
        "high": high,
        "memory": done.peak / plainly.peak,
        "products": products,
        "predicted": _predicted(spec, way, clock, known),
        "plain_seconds": statistics.median(plain_times),
        "compile_seconds": compiling if prepared.is_compiled else None,
        "waited": waited,
        **_errors(spec, way, prepared, clock, known),
    }


@final
@dataclass(frozen=True)
class _Done:
    """What a way does: the peak of a period, and multiply-adds of a step in the mean of it."""

    peak: int
    products: float | None


def _done(prepared: Prepared, device: torch.device, again: Callable[[], None]) -> _Done:
    """Watch a period."""
    if prepared.measured is not None:
        usual, rare = (execute(step, device, again) for step in (prepared.step, prepared.measured))
        mean = None
        if usual.products is not None and rare.products is not None:
            mean = usual.products + (rare.products - usual.products) / prepared.period
        return _Done(max(usual.peak, rare.peak), mean)

    def block() -> None:
        for _ in range(prepared.period):
            prepared.step()

    found = execute(block, device, again)
    return _Done(found.peak, None if found.products is None else found.products / prepared.period)


def _nothing_compiled_yet() -> AbstractContextManager[object]:
    """Compile without what earlier rows and runs have left on the disk: its time would depend on them."""
    from torch._inductor.utils import fresh_cache

    return fresh_cache()


def _predicted(spec: SubjectSpec, way: Way, clock: Clock, known: Known) -> float | None:
    """The ratio of products that was to be expected."""
    if way.predicted is None:
        return None
    if known.counted is None:
        known.counted = count(spec.build(clock.device))
    return way.predicted(known.counted)


def _errors(spec: SubjectSpec, way: Way, prepared: Prepared, clock: Clock, known: Known) -> dict[str, float | None]:
    """The errors of the curvature; none where it is asked how cost grows, or where a way gives no curvature."""
    if spec.axis or prepared.curvature is None:
        return {}
    if known.reference is None:
        known.reference = Reference(spec, clock.device)
    total, per_sample = error_of(prepared.curvature, "ggn" if way.order == "ggn" else "exact", known.reference)
    return {"error": total, "error_per_sample": per_sample}


def release(device: torch.device) -> None:
    """Give back what a row has held: after an error its frames hold it, and the next row would find no room."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _keeper(subject: Subject) -> Callable[[], None]:
    """Put parameters and buffers back to what they are now, so that every repetition does the same work."""
    tensors: list[Tensor] = [p.detach() for p in subject.parameters]
    tensors += list(subject.network.buffers())
    kept = [tensor.clone() for tensor in tensors]

    def again() -> None:
        with torch.no_grad():
            for tensor, value in zip(tensors, kept, strict=True):
                tensor.copy_(value)
        for p in subject.parameters:
            p.grad = None

    return again


def _first_line(error: BaseException) -> str:
    """The first line of a message, at most 160 characters of it."""
    line = str(error).strip().partition("\n")[0]
    return line if len(line) <= 160 else f"{line[:157]}..."
