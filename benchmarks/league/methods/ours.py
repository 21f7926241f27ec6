"""Methods of the library."""

from __future__ import annotations

import statistics
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

import curvestep
from benchmarks.league.methods.average import Average
from benchmarks.league.methods.driver import Driver, Method, trained


class _Recorded(Driver):
    """An optimizer that records."""

    def __init__(self, optimizer: Any) -> None:
        super().__init__(optimizer)
        self.sizes: list[float] = []
        self.outcomes: dict[str, int] = {}

    def record(self) -> AbstractContextManager[Any]:
        return self.optimizer.record()

    def advance(self, loss: Tensor) -> None:
        super().advance(loss)
        last = self.optimizer.last_step
        self.sizes.append(last.step_size)
        self.outcomes[last.outcome.name] = self.outcomes.get(last.outcome.name, 0) + 1

    def report(self) -> dict[str, float]:
        shares = {name: count / max(1, self.steps) for name, count in self.outcomes.items()}
        return {"step_size": statistics.median(self.sizes), **shares}


class _Auto(_Recorded):
    def averaged(self) -> AbstractContextManager[Any]:
        return self.optimizer.averaged()


class _Ceiling(Driver):
    """Auto's ceiling and average around torch's Adam, without any measurement."""

    def __init__(self, model: nn.Module) -> None:
        params = trained(model)
        adam = torch.optim.Adam(params, lr=0.006, betas=(0.9, 0.99))
        super().__init__(adam, lambda k: min((k + 1) / 100.0, (100.0 / (k + 1)) ** 0.5))
        self.average = Average(params)

    def advance(self, loss: Tensor) -> None:
        super().advance(loss)
        self.average.advance()

    def averaged(self) -> AbstractContextManager[Any]:
        return self.average.shown()


OURS = (
    Method("auto", lambda model, _: _Auto(curvestep.Auto(trained(model))), "Auto as it stands"),
    Method("auto-uncurved", lambda model, _: _Ceiling(model), "Auto's ceiling and average on torch's Adam"),
    Method("gen", lambda model, _: _Recorded(curvestep.GeN(trained(model))), "GeN at its defaults"),
)
