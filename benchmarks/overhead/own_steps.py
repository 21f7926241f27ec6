"""Plain steps and curvestep's own, made ready on a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

import curvestep
from benchmarks.overhead.cases import Case
from benchmarks.overhead.prepared import Measured, Prepared
from benchmarks.overhead.variants import WINDOW_ENDS
from curvestep.bench.methods.ceiling_adam import CeilingAdam
from curvestep.engine.data.recording import Products
from curvestep.optim._commit import RULE_STATE
from curvestep.optim._options import EVERY, MEASUREMENTS
from curvestep.steprules.lazy import LAZY_COUNT, LAZY_LAST

ProductsName = Literal["auto", "naive", "polarised"]
Memory = Literal["keep", "split"]
_PRODUCTS = {"auto": Products.AUTO, "naive": Products.NAIVE, "polarised": Products.POLARISED}

# Small enough for a plain step to change nothing that a step costs.
RATE = 1e-4

# Names in the state of the default's rule: the steps so far, how many there are at the end of the window, the scale.
COUNT, END, SCALE = "balance_count", "balance_end", "balance_scale"

# A step of a long run: measurements are as rare as they get.
_LATE = 1 << 20


def torch_optimizer(baseline: str, case: Case) -> Optimizer:
    """Torch's own optimizer of this name."""
    makers: dict[str, Callable[..., Optimizer]] = {"SGD": torch.optim.SGD, "AdamW": torch.optim.AdamW}
    return makers[baseline](case.parameters, lr=RATE)


def plain(baseline: str, case: Case) -> Callable[[], None]:
    """Forward, backward and the update of torch's optimizer."""
    return by_closure(torch_optimizer(baseline, case), case)


def plain_again(case: Case, baseline: str) -> Prepared:
    """The plain step, to be compared with itself."""
    return Prepared(plain(baseline, case))


def by_closure(optimizer: Optimizer, case: Case) -> Callable[[], None]:
    """A step as users write it."""

    def closure() -> Any:
        optimizer.zero_grad()
        loss = case.loss()
        loss.backward()
        return loss

    def step() -> None:
        optimizer.step(closure)

    return step


def curvature_of(
    case: Case,
    *,
    products: ProductsName = "auto",
    memory: Memory = "keep",
    form: Literal["auto", "taylor"] = "auto",
    kind: Literal["exact", "ggn"] = "exact",
    samples: float | None = None,
    per_sample: bool = True,
) -> Callable[[Sequence[Tensor]], Measured]:
    """The pass of the engine in the setting of a row."""

    def curvature(direction: Sequence[Tensor]) -> Measured:
        for p in case.parameters:
            p.grad = None
        with curvestep.record(products=products, memory=memory) as tape:
            case.loss().backward()
        found = tape.curvature(
            case.parameters, list(direction), form=form, kind=kind, samples=samples, per_sample=per_sample
        )
        tape.release()
        split = found.per_sample if found.per_sample_exact else None
        return Measured(found.total.item(), None if split is None else split.double().cpu(), found.indices)

    return curvature


def auto(case: Case) -> Prepared:
    """The library's default."""
    optimizer = curvestep.Auto(case.parameters)
    return by_windows(optimizer, by_closure(optimizer, case), curvature_of(case, memory="split", per_sample=False))


def by_windows(
    optimizer: Optimizer,
    step: Callable[[], None],
    curvature: Callable[[Sequence[Tensor]], Measured] | None = None,
    *,
    is_compiled: bool = False,
) -> Prepared:
    """The two kinds of call of an optimizer with windows of steps, each when it is asked for: one ends a window."""
    # What the rule knew after the first step, and is told each time: no scale grows from one repetition to another.
    kept: dict[str, Any] = {}

    def after(steps: int) -> Callable[[], None]:
        def run() -> None:
            groups = optimizer.param_groups
            if not kept and groups[0][RULE_STATE][SCALE] > 0.0:
                kept.update(groups[0][RULE_STATE])
            for group in groups if kept else ():
                group[RULE_STATE] = {**kept, END: kept[COUNT] + steps}
            step()

        return run

    return Prepared(after(1), round(1000 / WINDOW_ENDS[1000]), after(0), curvature=curvature, is_compiled=is_compiled)


def ceiling(case: Case) -> Prepared:
    """Adam under a ceiling, a quarter of the samples measured on every sixteenth step, late in a run."""
    optimizer = CeilingAdam(case.parameters)
    return now_and_then(optimizer, by_closure(optimizer, case), curvature_of(case, samples=0.25, memory="split"))


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
                group[MEASUREMENTS] = _LATE  # no power of two is near: no look at the whole batch's slope
                if group[RULE_STATE]:
                    group[RULE_STATE] = {**group[RULE_STATE], LAZY_COUNT: _LATE, LAZY_LAST: _LATE - steps}
            step()

        return run

    return Prepared(after(1), every, after(every), curvature=curvature, is_compiled=is_compiled)


def rescaled(case: Case, products: ProductsName = "auto", memory: Memory = "keep") -> Prepared:
    """The exact curvature on every step, along the gradient."""
    optimizer = curvestep.RescaledSGD(case.parameters)
    curvature = curvature_of(case, products=products, memory=memory)
    if (products, memory) == ("auto", "keep"):
        return Prepared(by_closure(optimizer, case), curvature=curvature)

    def step() -> None:
        optimizer.zero_grad()
        with optimizer.record(memory=memory) as tape:
            tape.recording.products = _PRODUCTS[products]
            case.loss().backward()
        optimizer.step()

    return Prepared(step, curvature=curvature)


def rescaled_adam(case: Case) -> Prepared:
    """The exact curvature on every step, along Adam's direction."""
    optimizer = curvestep.RescaledAdam(case.parameters)
    return Prepared(by_closure(optimizer, case), curvature=curvature_of(case))


def gauss_newton(case: Case) -> Prepared:
    """The Gauss-Newton form on every step."""
    optimizer = curvestep.RescaledSGD(case.parameters, curvature_kind="ggn")
    return Prepared(by_closure(optimizer, case), curvature=curvature_of(case, kind="ggn"))


def quarter(case: Case) -> Prepared:
    """A quarter of the samples on every step."""
    optimizer = curvestep.RescaledSGD(case.parameters, curvature_samples=0.25)
    return Prepared(by_closure(optimizer, case), curvature=curvature_of(case, samples=0.25))


def taylor(case: Case) -> Prepared:
    """The second-order terms carried to the loss, for the gradient and torch's update; no optimizer asks for it."""
    parameters = case.parameters
    optimizer = torch_optimizer("SGD", case)

    def step() -> None:
        optimizer.zero_grad()
        with curvestep.record() as tape:
            case.loss().backward()
        moved = [p for p in parameters if p.grad is not None]
        tape.curvature(moved, [p.grad for p in moved if p.grad is not None], form="taylor").total.item()
        tape.release()
        optimizer.step()

    return Prepared(step, curvature=curvature_of(case, form="taylor"))


def lqa(case: Case) -> Prepared:
    """Two more losses on every step."""
    return Prepared(by_closure(curvestep.LQA(case.parameters), case))


def gen(case: Case) -> Prepared:
    """Two more losses on every eighth step."""
    return Prepared(by_closure(curvestep.GeN(case.parameters, every=8), case), 8)
