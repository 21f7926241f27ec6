"""Methods of others, at their published defaults and without weight decay."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.league.methods.average import Average
from benchmarks.league.methods.driver import Driver, Method, cosine, trained, warmup
from benchmarks.league.methods.plus import ScheduleFreePlus

RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)


def _adamw(rate: float) -> Callable[[nn.Module, int], Driver]:
    def build(model: nn.Module, steps: int) -> Driver:
        return Driver(torch.optim.AdamW(trained(model), lr=rate, weight_decay=0.0), cosine(steps))

    return build


class _Switched(Driver):
    """An optimizer with a training and an evaluation mode."""

    def __init__(self, optimizer: Any) -> None:
        super().__init__(optimizer)
        optimizer.train()

    @contextmanager
    def averaged(self) -> Iterator[None]:
        self.optimizer.eval()
        try:
            yield
        finally:
            self.optimizer.train()


class _Plus(Driver):
    def advance(self, loss: Tensor) -> None:
        self.optimizer.step(float(loss))

    @contextmanager
    def averaged(self) -> Iterator[None]:
        former = self.optimizer.exchange(self.optimizer.x)
        try:
            yield
        finally:
            self.optimizer.exchange(former)

    def report(self) -> dict[str, float]:
        return {"step_size": self.optimizer.alpha}


class _Averaging(Driver):
    def __init__(self, optimizer: Any, average: Average) -> None:
        super().__init__(optimizer)
        self.average = average

    def advance(self, loss: Tensor) -> None:
        super().advance(loss)
        self.average.advance()

    def averaged(self) -> AbstractContextManager[Any]:
        return self.average.shown()


class _WithLoss(Driver):
    def advance(self, loss: Tensor) -> None:
        self.optimizer.step(loss=loss)


def _schedule_free(model: nn.Module, steps: int) -> Driver:
    import schedulefree  # pyright: ignore[reportMissingImports]

    del steps
    return _Switched(schedulefree.AdamWScheduleFree(trained(model), lr=0.0025))


def _plus(model: nn.Module, steps: int) -> Driver:
    return _Plus(ScheduleFreePlus(trained(model)), warmup(steps))


def _prodigy(model: nn.Module, steps: int) -> Driver:
    import prodigyopt  # pyright: ignore[reportMissingImports]

    del steps
    return Driver(prodigyopt.Prodigy(trained(model), lr=1.0))


def _prodigy_cosine(model: nn.Module, steps: int) -> Driver:
    import prodigyopt  # pyright: ignore[reportMissingImports]

    return Driver(prodigyopt.Prodigy(trained(model), lr=1.0), cosine(steps, 0.0))


def _dadapt(model: nn.Module, steps: int) -> Driver:
    import dadaptation  # pyright: ignore[reportMissingImports]

    del steps
    return Driver(dadaptation.DAdaptAdam(trained(model), lr=1.0))


def _distance_over_gradients(kind: str) -> Callable[[nn.Module, int], Driver]:
    def build(model: nn.Module, steps: int) -> Driver:
        import dog  # pyright: ignore[reportMissingImports]

        del steps
        logging.getLogger("dog").setLevel(logging.ERROR)
        params = trained(model)
        return _Averaging(getattr(dog, kind)(params), Average(params))

    return build


def _momo(model: nn.Module, steps: int) -> Driver:
    import momo  # pyright: ignore[reportMissingImports]

    del steps
    return _WithLoss(momo.MomoAdam(trained(model)))


def _mechanic(model: nn.Module, steps: int) -> Driver:
    from mechanic_pytorch import mechanize  # pyright: ignore[reportMissingImports]

    base = mechanize(torch.optim.AdamW)(trained(model), lr=1.0, weight_decay=0.0)
    return Driver(base, cosine(steps))


class _Both(Driver):
    """Muon on the hidden matrices, AdamW on everything else."""

    def __init__(self, model: nn.Module, steps: int) -> None:
        linear = [module.weight for module in model.modules() if isinstance(module, nn.Linear)]
        hidden = [weight for weight in linear[:-1] if weight.requires_grad]
        known = {id(weight) for weight in hidden}
        rest = [p for p in trained(model) if id(p) not in known]
        factor = cosine(steps)
        super().__init__(torch.optim.AdamW(rest or hidden, lr=3e-4, betas=(0.9, 0.95), weight_decay=0.0), factor)
        muon = torch.optim.Muon(hidden, lr=0.02, weight_decay=0.0) if hidden and rest else None
        self.muon = None if muon is None else Driver(muon, factor)

    def advance(self, loss: Tensor) -> None:
        super().advance(loss)
        if self.muon is not None:
            self.muon.step(loss)


ADAMW = tuple(f"adamw-{rate:g}" for rate in RATES)
RIVALS = (
    *(
        Method(name, _adamw(rate), f"AdamW at {rate:g}, warm-up 5 %, cosine to zero", True)
        for name, rate in zip(ADAMW, RATES, strict=True)
    ),
    Method("schedule-free", _schedule_free, "Schedule-Free AdamW at 0.0025"),
    Method("schedule-free-plus", _plus, "ScheduleFree+, warm-up 5 %", True),
    Method("prodigy", _prodigy, "Prodigy, constant"),
    Method("prodigy-cosine", _prodigy_cosine, "Prodigy, cosine to zero", True),
    Method("dadapt-adam", _dadapt, "D-Adaptation Adam, constant"),
    Method("dog", _distance_over_gradients("DoG"), "DoG, averaged"),
    Method("ldog", _distance_over_gradients("LDoG"), "LDoG, averaged"),
    Method("momo-adam", _momo, "MoMo-Adam at 0.01"),
    Method("muon", _Both, "Muon at 0.02 on hidden matrices, AdamW at 3e-4 elsewhere, warm-up, cosine to zero", True),
    Method("mechanic", _mechanic, "Mechanic around AdamW, warm-up 5 %, cosine to zero", True),
)
