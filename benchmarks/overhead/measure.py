"""The overhead of one variant on one network: interleaved times, peaks, products, and how exact its curvature is."""

from __future__ import annotations

import gc
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor

from benchmarks.overhead.accuracy import Reference, error_of
from benchmarks.overhead.own_steps import plain
from benchmarks.overhead.predicted import Predicted, count
from benchmarks.overhead.prepared import NotApplicable, Prepared
from benchmarks.overhead.profile import Profile, execute
from benchmarks.overhead.row import OverheadRow
from benchmarks.overhead.source_digest import digest
from benchmarks.overhead.waiting import Waiting
from curvestep.bench.environment import revision

if TYPE_CHECKING:
    from benchmarks.overhead.cases import Case, CaseSpec
    from benchmarks.overhead.variants import Variant

_FEWEST, _MOST = 3, 101


@final
@dataclass(frozen=True)
class Taken:
    """Seconds of a variant's steps.

    Args:
        mean: of a step in the mean of a period.
        usual: of one that does not measure, where it was timed apart.
        rare: of one that measures, likewise.
    """

    mean: float
    usual: float | None = None
    rare: float | None = None


@final
@dataclass(frozen=True)
class Clock:
    """Times runs on a device.

    Args:
        device: waited for before each reading.
        seconds: how long the pairs of one row may take; at least three are timed.
        by_processor: whether seconds are those that a processor spent on this process: of one thread they are what it
            takes where no other work is in the way, and other work does not change them.
    """

    device: torch.device
    seconds: float
    by_processor: bool = False

    def _now(self) -> float:
        return time.process_time() if self.by_processor else time.perf_counter()

    def time(self, run: Callable[[], None], times: int = 1) -> float:
        """Seconds of one of so many runs in a row."""
        self._wait()
        start = self._now()
        for _ in range(times):
            run()
        self._wait()
        return (self._now() - start) / times

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def pairs(
        self, first: Callable[[], None], second: Prepared, again: Callable[[], None]
    ) -> tuple[list[float], list[Taken]]:
        """Times of the plain step and of the variant, in turn, the one that comes first alternating.

        Args:
            first: the plain step. On an accelerator it is repeated as often as the variant, so that both wait for the
                device once in so many steps.
            second: the variant; where one of its steps can be asked to measure, that is timed, and one that does not.
            again: puts everything back, outside the clock.

        Returns:
            Seconds of each, pair by pair.
        """
        plain_times: list[float] = []
        times: list[Taken] = []
        together = second.period if second.measured is None else 1
        repeated = together if self.device.type == "cuda" else 1
        end = self._now() + self.seconds
        while len(times) < _FEWEST or (len(times) < _MOST and self._now() < end):
            for turn in (0, 1) if len(times) % 2 == 0 else (1, 0):
                again()
                if turn == 0:
                    plain_times.append(self.time(first, repeated))
                else:
                    times.append(self._of_a_period(second, together, again))
        return plain_times, times

    def _of_a_period(self, variant: Prepared, together: int, again: Callable[[], None]) -> Taken:
        """Seconds of the steps of a period."""
        usual = self.time(variant.step, together)
        if variant.measured is None:
            return Taken(usual)
        again()
        rare = self.time(variant.measured)
        return Taken(usual + (rare - usual) / variant.period, usual, rare)


@final
@dataclass
class Known:
    """What rows of the same network share, measured once.

    Attributes:
        plains: what plain steps do, by optimizer.
        counted: the products counted beforehand.
        reference: the curvature in float64.
    """

    plains: dict[str, Profile] = field(default_factory=dict)
    counted: Predicted | None = None
    reference: Reference | None = None


def measure(spec: CaseSpec, variant: Variant, machine: str, clock: Clock, known: Known | None = None) -> OverheadRow:
    """One row.

    Args:
        spec: network and batch.
        variant: of taking a step.
        machine: as in the row.
        clock: how it is timed.
        known: what earlier rows of this network have found; added to.

    Returns:
        The row; where the variant does not apply, one that says why.
    """
    said: dict[str, Any] = {
        "machine": machine,
        "subject": spec.name,
        "method": variant.name,
        "gives": variant.gives,
        "baseline": variant.baseline,
        "axis": spec.axis,
        "value": spec.value,
        "batch": spec.batch,
        "revision": revision(),
        "source": digest(variant.depends),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other libraries, and of batches that mix: tables say what they cost
        try:
            return OverheadRow(**said, **_measured(spec, variant, clock, Known() if known is None else known))
        except NotApplicable as reason:
            return OverheadRow(**said, skipped=str(reason))
        except torch.OutOfMemoryError:
            return OverheadRow(**said, skipped="does not fit into the memory of the device")
        except (RuntimeError, NotImplementedError, AttributeError, ValueError) as error:
            return OverheadRow(**said, skipped=f"{type(error).__name__}: {_first_line(error)}")
        finally:
            release(clock.device)


def _measured(spec: CaseSpec, variant: Variant, clock: Clock, known: Known) -> dict[str, Any]:
    """The numbers of a row."""
    case = spec.build(clock.device)
    first = plain(variant.baseline, case)
    again = keeper(case)
    prepared = variant.prepare(case)
    with _nothing_compiled_yet() if prepared.is_compiled else nullcontext():
        kinds = [prepared.step] if prepared.measured is None else [prepared.measured, prepared.step]
        warm = sum(clock.time(step) for step in kinds for _ in range(prepared.warmup))
    again()
    first()
    gc.collect()
    waiting = Waiting()
    plain_times, times = clock.pairs(first, prepared, again)
    waited = 0.0 if clock.by_processor else waiting.share()
    ratios = [b.mean / a for a, b in zip(plain_times, times, strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
    compiling = max(0.0, warm - prepared.warmup * len(kinds) * statistics.median(each.mean for each in times))

    # Put back before each: gradients that are still held would be freed inside, and hide as much of the peak.
    done = _done(prepared, clock.device, again)
    plainly = known.plains.get(variant.baseline)
    if plainly is None:
        plainly = known.plains[variant.baseline] = execute(first, clock.device, again)
    products = None
    if done.products is not None and plainly.products and not prepared.is_compiled:  # compiled loops hide theirs
        products = done.products / plainly.products
    again()
    return {
        "pairs": len(ratios),
        "low": low,
        "median": median,
        "high": high,
        "usual": _median([b.usual / a for a, b in zip(plain_times, times, strict=True) if b.usual is not None]),
        "rare": _median([b.rare / a for a, b in zip(plain_times, times, strict=True) if b.rare is not None]),
        "memory": done.peak / plainly.peak,
        "products": products,
        "predicted": _predicted(spec, variant, clock, known),
        "plain_seconds": statistics.median(plain_times),
        "compile_seconds": compiling if prepared.is_compiled else None,
        "waited": waited,
        **_errors(spec, variant, prepared, clock, known),
    }


def _median(ratios: Sequence[float]) -> float | None:
    """None without any."""
    return statistics.median(ratios) if ratios else None


@final
@dataclass(frozen=True)
class _Done:
    """What a variant does: the peak of a period, and multiply-adds of a step in the mean of it."""

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


def _predicted(spec: CaseSpec, variant: Variant, clock: Clock, known: Known) -> float | None:
    """The ratio of products that was to be expected."""
    if variant.predicted is None:
        return None
    if known.counted is None:
        known.counted = count(spec.build(clock.device))
    return variant.predicted(known.counted)


def _errors(
    spec: CaseSpec, variant: Variant, prepared: Prepared, clock: Clock, known: Known
) -> dict[str, float | None]:
    """The errors of the curvature; none where it is asked how cost grows, or where a variant gives no curvature."""
    if spec.axis or prepared.curvature is None:
        return {}
    if known.reference is None:
        known.reference = Reference(spec, clock.device)
    total, per_sample = error_of(prepared.curvature, "ggn" if variant.order == "ggn" else "exact", known.reference)
    return {"error": total, "error_per_sample": per_sample}


def release(device: torch.device) -> None:
    """Give back what a row has held: after an error its frames hold it, and the next row would find no room."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def keeper(case: Case) -> Callable[[], None]:
    """Put parameters and buffers back to what they are now, so that every repetition does the same work."""
    tensors: list[Tensor] = [p.detach() for p in case.parameters]
    tensors += list(case.network.buffers())
    kept = [tensor.clone() for tensor in tensors]

    def again() -> None:
        with torch.no_grad():
            for tensor, value in zip(tensors, kept, strict=True):
                tensor.copy_(value)
        for p in case.parameters:
            p.grad = None

    return again


def _first_line(error: BaseException) -> str:
    """The first line of a message, at most 160 characters of it."""
    line = str(error).strip().partition("\n")[0]
    return line if len(line) <= 160 else f"{line[:157]}..."
