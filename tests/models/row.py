"""One row of the database of models, and how it becomes a problem for the engine."""

from __future__ import annotations

import importlib.util
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from curvestep.testing.truths import Problem


@dataclass(frozen=True)
class Case:
    """A built model with its data.

    Attributes:
        params: the leaves that move.
        loss: J, made anew at every call, by the model's own forward and its default kernels: what is recorded.
        terms: J_s, shape (B,), with mean J, by operations whose double backward is right: the truth.
        batch_size: given to `curvestep.record`; None to have it found.
    """

    params: Sequence[Tensor]
    loss: Callable[[], Tensor]
    terms: Callable[[], Tensor]
    batch_size: int | None = None


@dataclass(frozen=True)
class Model:
    """One architecture at tiny size.

    Attributes:
        name: of the architecture; also the seed of its numbers.
        family: the heading under which the table of the documentation lists it.
        build: makes the `Case`, with torch's generator seeded and float64 the default dtype.
        smooth: whether central differences are a truth (no kink of ReLU, maximum or routing within reach of a step).
        exact: whether the engine must call its split over samples exact.
        needs: packages without which the row is skipped.
        refused: a pattern of the sentence with which the engine must refuse the model; empty: it must not.
        whole: why a part of the batch cannot be measured, as a pattern of the warning; empty: it can.
        note: what the documentation says about the row.
    """

    name: str
    family: str
    build: Callable[[], Case]
    smooth: bool = True
    exact: bool = True
    needs: tuple[str, ...] = ()
    refused: str = ""
    whole: str = ""
    note: str = ""

    @property
    def missing(self) -> str | None:
        """A sentence that names a missing package, or None."""
        absent = [n for n in self.needs if importlib.util.find_spec(n) is None]
        return f"This model needs {', '.join(absent)}, which is not installed." if absent else None

    def problem(self) -> Problem:
        """The same numbers at every call; torch's generator and default dtype are left as they were."""
        seed = zlib.crc32(self.name.encode())
        with torch.random.fork_rng(devices=[]), double():
            torch.manual_seed(seed)
            case = self.build()
            with torch.no_grad():
                for p in case.params:
                    p.add_(0.1 * torch.randn_like(p))  # nothing stays at an initial zero, where terms would vanish
            # Each tensor moves relative to its own size, so that a step of 1/32 along d is a step of 1 % everywhere:
            # small enough for differences extrapolated twice, large enough against their rounding.
            direction = [0.3 * torch.randn_like(p) * p.detach().abs().square().mean().sqrt() for p in case.params]

        def same_noise(value: Callable[[], Tensor]) -> Callable[[], Tensor]:
            def run() -> Tensor:
                with torch.random.fork_rng(devices=[]), double():
                    torch.manual_seed(seed)  # dropout masks and noise are the same at every call
                    return value()

            return run

        return Problem(case.params, direction, same_noise(case.loss), same_noise(case.terms), case.batch_size)


@contextmanager
def double() -> Iterator[None]:
    """Make float64 the default dtype for a while."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def trained(*modules: nn.Module) -> list[Tensor]:
    """The parameters that require gradients, each once."""
    return list(dict.fromkeys(p for m in modules for p in m.parameters() if p.requires_grad))


def supervised(model: nn.Module, x: Tensor, loss: Callable[[Tensor], Tensor]) -> Case:
    """A model whose loss is the mean of losses of shape (B,), computed from its output by the same formula."""
    return Case(trained(model), lambda: loss(model(x)).mean(), lambda: loss(model(x)))
