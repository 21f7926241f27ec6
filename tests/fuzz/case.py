"""A claim of the engine beside its truth, and what became of a case: right, refused in a sentence, wrong or crashed."""

from __future__ import annotations

import functools
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from curvestep._errors import CurvestepError

Loss = Callable[[], Tensor]


class Outcome(Enum):
    """What became of a case."""

    RIGHT = "every number agrees with its truth"
    REFUSED = "the engine refused in a sentence"
    NEEDLESS = "the engine refused what it has to answer"
    WRONG = "a number differs from its truth"
    CRASHED = "an exception that is no refusal"


@dataclass(frozen=True)
class Claim:
    """A number of the engine and its truth, computed without it."""

    what: str
    given: Any
    true: Any
    # Both sides are float64 sums of some hundred products: rounding stays below 1e-12 of the largest term, and 1e-8
    # leaves four digits for terms that cancel. A wrong term of the findings is at least 1e-3.
    rtol: float = 1e-8

    def fault(self) -> str | None:
        """The sentence that says how both differ, or None."""
        given, true = (torch.as_tensor(t, dtype=torch.float64).detach() for t in (self.given, self.true))
        if given.shape != true.shape:
            return f"{self.what}: shape {tuple(given.shape)}, truth {tuple(true.shape)}"
        if given.numel() == 0:
            return None
        scale = 1 + float(true.abs().max())
        # A comparison with NaN is false, so that NaN is a fault.
        if bool(((given - true).abs() <= self.rtol * scale).all()):
            return None
        return f"{self.what}: {_brief(given)}, truth {_brief(true)}"


@dataclass(frozen=True)
class Verdict:
    """The outcome of a case and the sentences that explain it."""

    outcome: Outcome
    why: str = ""

    @property
    def passed(self) -> bool:
        """Whether the engine kept its promise."""
        return self.outcome in (Outcome.RIGHT, Outcome.REFUSED)


def judge(
    claims: Callable[[], Iterator[Claim]], *, must_answer: bool = False, seconds: float | None = 120.0
) -> Verdict:
    """Run a case in float64 with torch's generator seeded, and compare each claim with its truth."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    try:
        with warnings.catch_warnings(), nullcontext() if seconds is None else time_limit(seconds):
            warnings.simplefilter("ignore")
            faults = [fault for claim in claims() if (fault := claim.fault()) is not None]
    except CurvestepError as refusal:
        return Verdict(Outcome.NEEDLESS if must_answer else Outcome.REFUSED, str(refusal))
    except Exception as crash:
        return Verdict(Outcome.CRASHED, f"{type(crash).__name__}: {crash}")
    finally:
        torch.set_default_dtype(before)
    return Verdict(Outcome.WRONG, "; ".join(faults)) if faults else Verdict(Outcome.RIGHT)


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeoutError where the block takes longer; a timer that runs already goes on afterwards."""

    def expire(signum: int, frame: Any) -> None:
        raise TimeoutError(f"the case did not end within {seconds:g} s")

    handler = signal.signal(signal.SIGALRM, expire)
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, 0.1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, left, interval)
        signal.signal(signal.SIGALRM, handler)


# -- truths ------------------------------------------------------------------------------------------------------------


# Fused attention has no second derivative in torch; its plain form has.
_plain_attention = functools.partial(sdpa_kernel, SDPBackend.MATH)


def derivatives(loss: Loss, params: Sequence[Tensor], direction: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """(⟨∇J, d⟩, ⟨∇²J d, d⟩) by double backward."""
    with _plain_attention():
        slope = _along(loss(), params, direction, create_graph=True)
    if slope.grad_fn is None:
        return slope.detach(), torch.zeros_like(slope)
    return slope.detach(), _along(slope, params, direction).detach()


def product(loss: Loss, params: Sequence[Tensor], direction: Sequence[Tensor]) -> Tensor:
    """∇²J d by double backward, flattened and joined."""
    with _plain_attention():
        slope = _along(loss(), params, direction, create_graph=True)
    parts = torch.autograd.grad(slope, params, allow_unused=True)
    return joined([torch.zeros_like(p) if h is None else h for h, p in zip(parts, params, strict=True)])


def values_along(loss: Loss, params: Sequence[Tensor], direction: Sequence[Tensor], steps: Sequence[float]) -> Tensor:
    """J(θ + t d) for each step, by running the program there."""
    start = [p.detach().clone() for p in params]
    found = []
    for t in steps:
        for p, at, d in zip(params, start, direction, strict=True):
            p.data = at + t * d
        found.append(loss().detach())
    for p, at in zip(params, start, strict=True):
        p.data = at
    return torch.stack(found)


def joined(tensors: Sequence[Tensor]) -> Tensor:
    """All elements in one line."""
    return torch.cat([t.detach().reshape(-1) for t in tensors])


def directions(params: Sequence[Tensor]) -> list[Tensor]:
    """A random direction, drawn from torch's generator."""
    return [torch.randn_like(p) for p in params]


# -- what a recording claims -------------------------------------------------------------------------------------------


def whole(found: Any, loss: Loss, params: Sequence[Tensor], direction: Sequence[Tensor]) -> Iterator[Claim]:
    """Total and slope of the whole batch, and that the rows have the total as their mean."""
    slope, total = derivatives(loss, params, direction)
    yield Claim("slope", found.slope, slope)
    yield Claim("total", found.total, total)
    if found.per_sample is not None:
        yield Claim("mean of the rows", found.per_sample.mean(), total)


def rows(found: Any, losses: Sequence[Loss], params: Sequence[Tensor], direction: Sequence[Tensor]) -> Iterator[Claim]:
    """Each row beside the curvature of that sample's loss alone, where the rows are called exact."""
    if found.per_sample is not None and found.per_sample_exact:
        true = torch.stack([derivatives(loss, params, direction)[1] for loss in losses])
        yield Claim("rows", found.per_sample, true)


def part(found: Any, losses: Sequence[Loss], params: Sequence[Tensor], direction: Sequence[Tensor]) -> Iterator[Claim]:
    """A part of the batch: its exact rows are rows of the batch, and total and slope are the means over them.

    Which samples belong to the part is the engine's choice, so each row is compared with the true row next to it.
    """
    true = [derivatives(loss, params, direction) for loss in losses]
    curved = torch.stack([q for _, q in true])
    chosen = list(range(len(losses)))
    if found.samples != len(losses):
        if found.per_sample is None or not found.per_sample_exact:
            return
        chosen = [int((curved - row).abs().argmin()) for row in found.per_sample]
        yield Claim("samples of the part are different ones", len(set(chosen)), found.samples)
    if found.per_sample is not None and found.per_sample_exact:
        yield Claim("rows", found.per_sample, curved[chosen])
    yield Claim("total", found.total, curved[chosen].mean())
    yield Claim("slope", found.slope, torch.stack([true[s][0] for s in chosen]).mean())


def _along(value: Tensor, params: Sequence[Tensor], direction: Sequence[Tensor], create_graph: bool = False) -> Tensor:
    """⟨∇value, d⟩."""
    grads = torch.autograd.grad(value, params, create_graph=create_graph, allow_unused=True)
    terms = [(g * d).sum() for g, d in zip(grads, direction, strict=True) if g is not None]
    return sum(terms, torch.zeros(()))


def _brief(t: Tensor) -> str:
    """At most six numbers, in five digits."""
    flat = [f"{v:.5g}" for v in t.reshape(-1)[:6].tolist()]
    return flat[0] if t.ndim == 0 else f"[{', '.join(flat)}{', …' if t.numel() > 6 else ''}]"
