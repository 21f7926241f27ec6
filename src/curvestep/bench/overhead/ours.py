"""Plain steps and curvestep's own, made ready on a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

import curvestep
from curvestep.bench.overhead.prepared import Measured, Prepared
from curvestep.bench.overhead.subjects import Subject
from curvestep.engine.data.recording import Products
from curvestep.optim._commit import RULE_STATE
from curvestep.optim._options import EVERY
from curvestep.steprules.lazy import LAZY_COUNT, LAZY_LAST

ProductsName = Literal["auto", "naive", "polarised"]
Memory = Literal["keep", "split"]
_PRODUCTS = {"auto": Products.AUTO, "naive": Products.NAIVE, "polarised": Products.POLARISED}

# Small enough for a plain step to change nothing that a step costs.
RATE = 1e-4

# A step of a long run: measurements are as rare as they get.
_LATE = 1 << 20


def torch_optimizer(baseline: str, subject: Subject) -> Optimizer:
    """Torch's own optimizer of this name."""
    makers: dict[str, Callable[..., Optimizer]] = {"SGD": torch.optim.SGD, "AdamW": torch.optim.AdamW}
    return makers[baseline](subject.parameters, lr=RATE)


def plain(baseline: str, subject: Subject) -> Callable[[], None]:
    """Forward, backward and the update of torch's optimizer."""
    return by_closure(torch_optimizer(baseline, subject), subject)


def plain_again(subject: Subject, baseline: str) -> Prepared:
    """The plain step, to be compared with itself."""
    return Prepared(plain(baseline, subject))


def by_closure(optimizer: Optimizer, subject: Subject) -> Callable[[], None]:
    """A step as users write it."""

    def closure() -> Any:
        optimizer.zero_grad()
        loss = subject.loss()
        loss.backward()
        return loss

    def step() -> None:
        optimizer.step(closure)

    return step


def curvature_of(
    subject: Subject,
    *,
    products: ProductsName = "auto",
    memory: Memory = "keep",
    form: Literal["auto", "taylor"] = "auto",
    kind: Literal["exact", "ggn"] = "exact",
    samples: float | None = None,
) -> Callable[[Sequence[Tensor]], Measured]:
    """The pass of the engine in the setting of a row."""

    def curvature(direction: Sequence[Tensor]) -> Measured:
        for p in subject.parameters:
            p.grad = None
        with curvestep.record(products=products, memory=memory) as tape:
            subject.loss().backward()
        found = tape.curvature(subject.parameters, list(direction), form=form, kind=kind, samples=samples)
        tape.release()
        split = found.per_sample if found.per_sample_exact else None
        return Measured(found.total.item(), None if split is None else split.double().cpu())

    return curvature


def auto(subject: Subject) -> Prepared:
    """The library's default, late in a run."""
    optimizer = curvestep.Auto(subject.parameters)
    return now_and_then(optimizer, by_closure(optimizer, subject), curvature_of(subject, samples=0.25, memory="split"))


def now_and_then(
    optimizer: Optimizer,
    step: Callable[[], None],
    curvature: Callable[[Sequence[Tensor]], Measured] | None = None,
    *,
    is_compiled: bool = False,
) -> Prepared:
    """A lazy rule's two kinds of step, each when it is asked for: the rule is told how long ago it measured."""
    every = optimizer.param_groups[0][EVERY]

    def after(steps: int) -> Callable[[], None]:
        def run() -> None:
            for group in optimizer.param_groups:
                if group[RULE_STATE]:
                    group[RULE_STATE] = {**group[RULE_STATE], LAZY_COUNT: _LATE, LAZY_LAST: _LATE - steps}
            step()

        return run

    return Prepared(after(1), every, after(every), curvature=curvature, is_compiled=is_compiled)


def rescaled(subject: Subject, products: ProductsName = "auto", memory: Memory = "keep") -> Prepared:
    """The exact curvature on every step, along the gradient."""
    optimizer = curvestep.RescaledSGD(subject.parameters)
    curvature = curvature_of(subject, products=products, memory=memory)
    if (products, memory) == ("auto", "keep"):
        return Prepared(by_closure(optimizer, subject), curvature=curvature)

    def step() -> None:
        optimizer.zero_grad()
        with optimizer.record(memory=memory) as tape:
            tape.recording.products = _PRODUCTS[products]
            subject.loss().backward()
        optimizer.step()

    return Prepared(step, curvature=curvature)


def rescaled_adam(subject: Subject) -> Prepared:
    """The exact curvature on every step, along Adam's direction."""
    optimizer = curvestep.RescaledAdam(subject.parameters)
    return Prepared(by_closure(optimizer, subject), curvature=curvature_of(subject))


def gauss_newton(subject: Subject) -> Prepared:
    """The Gauss-Newton form on every step."""
    optimizer = curvestep.RescaledSGD(subject.parameters, curvature="ggn")
    return Prepared(by_closure(optimizer, subject), curvature=curvature_of(subject, kind="ggn"))


def quarter(subject: Subject) -> Prepared:
    """A quarter of the samples on every step."""
    optimizer = curvestep.RescaledSGD(subject.parameters, curvature_samples=0.25)
    return Prepared(by_closure(optimizer, subject), curvature=curvature_of(subject, samples=0.25))


def taylor(subject: Subject) -> Prepared:
    """The second-order terms carried to the loss, for the gradient and torch's update; no optimizer asks for it."""
    parameters = subject.parameters
    optimizer = torch_optimizer("SGD", subject)

    def step() -> None:
        optimizer.zero_grad()
        with curvestep.record() as tape:
            subject.loss().backward()
        moved = [p for p in parameters if p.grad is not None]
        tape.curvature(moved, [p.grad for p in moved if p.grad is not None], form="taylor").total.item()
        tape.release()
        optimizer.step()

    return Prepared(step, curvature=curvature_of(subject, form="taylor"))


def lqa(subject: Subject) -> Prepared:
    """Two more losses on every step."""
    return Prepared(by_closure(curvestep.LQA(subject.parameters), subject))


def gen(subject: Subject) -> Prepared:
    """Two more losses on every eighth step."""
    return Prepared(by_closure(curvestep.GeN(subject.parameters, every=8), subject), 8)
