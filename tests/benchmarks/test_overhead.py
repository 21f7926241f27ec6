"""The overhead: what is counted, what is skipped and why, what is stored, and the page that is made of it."""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import curvestep
from benchmarks.overhead import measure as measuring
from benchmarks.overhead import run, source_digest, waiting
from benchmarks.overhead.accuracy import Reference, errors
from benchmarks.overhead.cases import CASES, CaseSpec, chosen, growth
from benchmarks.overhead.measure import Clock, Known, Taken, measure
from benchmarks.overhead.own_steps import by_closure
from benchmarks.overhead.predicted import count
from benchmarks.overhead.prepared import Measured, NotApplicable, Prepared
from benchmarks.overhead.profile import execute, multiply_adds
from benchmarks.overhead.row import Machine, OverheadRow
from benchmarks.overhead.run import is_stale, measure_all
from benchmarks.overhead.selection import rows_of
from benchmarks.overhead.source_digest import digest
from benchmarks.overhead.variants import VARIANTS, WINDOW_ENDS, Variant, chosen_variants
from benchmarks.repository import rows
from curvestep.bench.errors import SettingError
from curvestep.bench.methods.ceiling_adam import CeilingAdam
from curvestep.bench.networks.specs import DenseSpec, GPTSpec, ResNetSpec
from curvestep.bench.store import Store
from curvestep.steprules import Windows

CPU = torch.device("cpu")
SMALL = CaseSpec("small", DenseSpec((6, 5, 4, 10), "tanh"), 8, (6,), ())
TEXT = CaseSpec("text", GPTSpec(65, 5, 1, 8, 2), 4, (5,), ())
CLOCK = Clock(CPU, 0.0)
HEADS = torch.ones(2, 3, 4, 8)


class Heard:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.rows: list[tuple[OverheadRow, bool]] = []
        self.remaining = 0

    def found(self, row: OverheadRow, *, stored: bool) -> None:
        self.rows.append((row, stored))

    def left(self, rows: int) -> None:
        self.remaining = rows


def variant(name: str) -> Variant:
    (found,) = [variant for variant in VARIANTS if variant.name == name]
    return found


# -- counting ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (lambda: torch.ones(2, 3) @ torch.ones(3, 4), 2 * 3 * 4),
        (lambda: torch.ones(5, 2, 3) @ torch.ones(5, 3, 4), 5 * 2 * 3 * 4),
        (lambda: F.linear(torch.ones(2, 3), torch.ones(4, 3), torch.ones(4)), 2 * 3 * 4),
        # 4 filters of 2 of the 6 channels, 3×3; 8 pixels with padding 1, every second one: 4×4 outputs
        (lambda: nn.Conv2d(6, 4, 3, stride=2, padding=1, groups=2)(torch.ones(2, 6, 8, 8)), 2 * 4 * 16 * 3 * 9),
        # each of the 2·3·4 inputs meets 5 filters of length 3
        (lambda: nn.ConvTranspose1d(3, 5, 3)(torch.ones(2, 3, 4)), 2 * 3 * 4 * 5 * 3),
        # scores and their product with the values
        (lambda: F.scaled_dot_product_attention(HEADS, HEADS, HEADS), 2 * (2 * 3 * 4 * 4 * 8)),
        (lambda: torch.ones(3) + 1, 0),
    ],
)
def test_multiply_adds(run: Any, expected: int) -> None:
    with torch.no_grad():
        assert execute(run, CPU).products == expected


def test_the_backward_multiplies_twice_where_both_factors_want_it() -> None:
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Conv2d(3, 4, 3))
    x = torch.ones(2, 2, 6, 6)
    forward = 2 * 3 * 16 * 2 * 9, 2 * 4 * 4 * 3 * 9
    assert execute(lambda: net(x).sum().backward(), CPU).products == 2 * forward[0] + 3 * forward[1]


def test_hidden_products_are_not_passed_off_as_counted() -> None:
    assert execute(lambda: nn.LSTM(3, 4)(torch.ones(5, 2, 3)), CPU).products is None


def test_the_peak_is_that_of_the_run() -> None:
    assert execute(lambda: [torch.ones(1000), torch.ones(500)], CPU).peak == 6000


# -- variants ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [SMALL, TEXT], ids=lambda spec: spec.name)
@pytest.mark.parametrize("name", [variant.name for variant in VARIANTS if variant.predicted is not None])
def test_what_ran_is_what_was_predicted(spec: CaseSpec, name: str) -> None:
    row = measure(spec, variant(name), "here", CLOCK)
    assert row.skipped == "" and row.pairs == 3
    assert row.products == pytest.approx(row.predicted, rel=1e-12)
    assert row.products is not None and (row.products > 1.0) == (name != "plain SGD")
    assert row.low is not None and row.median is not None and row.high is not None
    assert 0.0 < row.low <= row.median <= row.high
    assert row.memory is not None and row.memory >= 1.0


def test_two_products_are_predicted_where_they_are_quicker() -> None:
    """A layer wide enough for its value to be of use; a quarter of its samples is too few for that."""
    wide = CaseSpec("wide", DenseSpec((64, 256, 256, 10), "tanh"), 256, (64,), ())
    counted = count(wide.build(CPU))
    naive, polarised, auto = (counted.measured(kind) for kind in ("naive", "polarised", "auto"))
    assert naive is not None and polarised is not None and auto is not None
    assert polarised < auto < naive, "the last layer is small"
    for name in ("RescaledSGD", "RescaledSGD, ¼ of the samples"):
        row = measure(wide, variant(name), "here", CLOCK, Known(counted=counted))
        assert row.products == pytest.approx(row.predicted, rel=1e-12), name


@pytest.mark.parametrize("name", [variant.name for variant in VARIANTS if "compiled" not in variant.sets])
def test_every_way_is_measured_or_says_why_not(name: str) -> None:
    row = measure(SMALL, variant(name), "here", CLOCK)
    assert (row.median is not None) == (row.skipped == "")
    # What needs no other library applies to a dense network.
    assert row.skipped == "" or "is not installed" in row.skipped, row.skipped
    assert row.batch == 8 and row.compile_seconds is None


def test_every_way_can_be_prepared() -> None:
    """The names under which variants are looked up exist; compiling itself is tested with the optimizers."""
    for each in VARIANTS:
        with warnings.catch_warnings(), contextlib.suppress(NotApplicable):
            warnings.simplefilter("ignore", DeprecationWarning)  # torch's own, where its compiler is imported
            prepared = each.prepare(SMALL.build(CPU))
            assert prepared.period == each.every, each.name
            assert prepared.is_compiled == ("compiled" in each.sets), each.name


def test_the_whole_batch_is_predicted_where_samples_mix() -> None:
    images = CaseSpec("images", ResNetSpec(4, 2, 10, 2, normalised=True, stages=2), 8, (3, 8, 8), ())
    row = measure(images, variant("RescaledSGD, ¼ of the samples"), "here", CLOCK)
    assert row.skipped == "" and row.products == pytest.approx(row.predicted, rel=1e-12)
    assert row.products is not None and row.products > 1.6, "a quarter of the pass would be less"


def test_a_row_that_compiles_says_how_long_that_took() -> None:
    folders: list[str | None] = []

    def prepare(case: Any) -> Prepared:
        calls: list[None] = []

        def step() -> None:
            if not calls:
                folders.append(os.environ.get("TORCHINDUCTOR_CACHE_DIR"))
                time.sleep(0.05)
            calls.append(None)
            case.loss().backward()

        return Prepared(step, is_compiled=True)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's own, where its compiler is imported
        row = measure(SMALL, Variant("slow start", "-", "SGD", prepare), "here", CLOCK)
    assert row.compile_seconds is not None and row.compile_seconds > 0.02
    assert row.products is None, "compiled loops hide their products"
    assert folders[0] is not None and not Path(folders[0]).exists(), "what was compiled before is not found again"


# -- accuracy ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [variant.name for variant in VARIANTS if variant.order and "compiled" not in variant.sets]
)
def test_errors_are_those_of_float32(name: str) -> None:
    row = measure(SMALL, variant(name), "here", CLOCK)
    if row.skipped or name in ("LQA", "GeN"):  # they give no curvature
        assert row.error is None
        return
    # sums of some hundred float32 terms; a wrong product or sample would be off by a whole digit
    assert row.error is not None and row.error < 1e-4
    assert (row.error_per_sample is None) == (variant(name).samples == 0.0)
    assert row.error_per_sample is None or 0.0 < row.error_per_sample < 1e-5


@pytest.mark.parametrize("spec", [SMALL, TEXT], ids=lambda spec: spec.name)
def test_the_reference_is_that_of_double_backward(spec: CaseSpec) -> None:
    """In float64, in parts of three samples or in one."""
    from benchmarks.overhead.cases import differentiable_kernels

    case = spec.build(CPU)
    case.loss().backward()
    direction = [torch.zeros_like(p) if p.grad is None else p.grad.double() for p in case.parameters]
    case.network.double()
    double = replace(case, inputs=case.inputs.double() if case.inputs.is_floating_point() else case.inputs)
    with differentiable_kernels(double):
        gradients = torch.autograd.grad(double.loss(), double.parameters, create_graph=True)
        products = torch.autograd.grad(gradients, double.parameters, grad_outputs=direction)
    expected = sum(float((d * p).sum()) for d, p in zip(direction, products, strict=True))
    whole, parts = (Reference(each, CPU).of("exact") for each in (spec, replace(spec, at_once=3)))
    assert whole is not None and parts is not None and parts.per_sample is not None and whole.per_sample is not None
    # float64 throughout, but for the rounding of sums in other orders
    assert whole.total == pytest.approx(expected, rel=1e-10) and parts.total == pytest.approx(expected, rel=1e-10)
    torch.testing.assert_close(parts.per_sample, whole.per_sample, rtol=1e-9, atol=1e-12)


def test_errors_of_some_samples_are_those_of_the_first() -> None:
    truth = Measured(0.0, torch.tensor([2.0, -4.0, 1.0, 1.0], dtype=torch.float64))
    total, per_sample = errors(Measured(-1.1, torch.tensor([2.0, -4.2], dtype=torch.float64)), truth)
    assert total == pytest.approx(0.1) and per_sample == pytest.approx(0.05)
    assert errors(Measured(3.0), Measured(-2.0)) == (2.5, None)
    # Nor is more of what was measured compared than is known; of a total alone nothing is.
    part = Measured(float("nan"), torch.tensor([2.0, -4.0], dtype=torch.float64))
    total, per_sample = errors(Measured(9.0, torch.tensor([2.0, -4.2, 8.0], dtype=torch.float64)), part)
    assert total == pytest.approx(0.1) and per_sample == pytest.approx(0.05)
    assert errors(Measured(9.0), part) == (None, None)
    # Samples that were measured are compared with themselves.
    spread = Measured(-1.6, torch.tensor([-4.2, 1.0], dtype=torch.float64), (1, 3))
    total, per_sample = errors(spread, truth)
    assert total == pytest.approx(0.1 / 1.5) and per_sample == pytest.approx(0.05)


def test_errors_of_a_large_batch_are_those_of_its_first_samples() -> None:
    whole, part = (Reference(replace(SMALL, checked=n), CPU).of("exact") for n in (0, 3))
    assert whole is not None and part is not None and whole.per_sample is not None and part.per_sample is not None
    torch.testing.assert_close(part.per_sample, whole.per_sample[:3], rtol=1e-9, atol=1e-12)  # sums in other orders
    assert part.total != part.total


# -- other libraries --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["double backward", "torch.func, jvp of grad", "curvlinops", "BackPACK, Gauss-Newton"])
def test_other_variants_take_the_measured_step(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """τ of the batch's curvature along the gradient, from curvestep's own engine."""
    from benchmarks.overhead import peer_steps

    monkeypatch.setattr(peer_steps, "_LONGEST", float("inf"))
    case = SMALL.build(CPU)
    with curvestep.record() as tape:
        case.loss().backward()
    direction = [p.grad.clone() for p in case.parameters if p.grad is not None]
    kind = "ggn" if "Gauss" in name else "exact"
    found = tape.curvature(case.parameters, direction, kind=kind)
    step_size = (found.slope / found.total.abs()).item()
    expected = [p.detach() - step_size * d for p, d in zip(case.parameters, direction, strict=True)]
    try:
        prepared = variant(name).prepare(case)
    except NotApplicable as reason:
        pytest.skip(str(reason))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's own, where forward mode is first used
        prepared.step()
    for p, goal in zip(case.parameters, expected, strict=True):
        # float32: products of two routes, summed in other orders
        torch.testing.assert_close(p.detach(), goal, rtol=1e-4, atol=1e-5)


def test_a_period_holds_all_that_repeats() -> None:
    """GeN measures on some steps only: after the warm-up every period holds equally many."""
    case = SMALL.build(CPU)
    prepared = variant("GeN").prepare(case)
    for _ in range(prepared.warmup):
        prepared.step()
    counts = [multiply_adds(prepared.step) for _ in range(2 * prepared.period)]
    assert counts[: prepared.period] == counts[prepared.period :] and len(set(counts)) == 2


def test_of_so_many_calls_of_the_default_so_many_are_windows_ends() -> None:
    options = curvestep.Auto([torch.zeros(1, requires_grad=True)]).param_groups[0]
    windows = Windows(options["window_growth"], options["window_offset"])
    assert {calls: windows.ends_within(calls) for calls in WINDOW_ENDS} == WINDOW_ENDS


def test_the_default_s_two_kinds_of_call_come_when_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the scale of the first step each time, although every window's end would change it."""
    told: list[tuple[str, float]] = []
    step = curvestep.Auto.step

    def seen(self: Any, closure: Any) -> Any:
        scale = self.param_groups[0]["rule_state"]["balance_scale"]
        returned = step(self, closure)
        told.append((self.last_step.outcome.name, scale))
        return returned

    monkeypatch.setattr(curvestep.Auto, "step", seen)
    prepared = variant("Auto").prepare(SMALL.build(CPU))
    assert prepared.measured is not None
    prepared.measured()  # the first step of all has no state that it could be told
    for kind in (prepared.measured, prepared.measured, prepared.step, prepared.step, prepared.measured):
        kind()
    assert [name for name, _ in told] == ["WINDOW_SCALE"] + [
        "WINDOW_ENDED", "WINDOW_ENDED", "WINDOW_SCALE", "WINDOW_SCALE", "WINDOW_ENDED"
    ]  # fmt: skip
    assert told[0][1] == 0.0 and len({scale for _, scale in told[1:]}) == 1


def test_a_step_that_measures_is_timed_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second on a plain step and on a usual one, three on the one in ten that measures."""
    now = [0.0]

    def taking(seconds: float) -> Any:
        return lambda: now.__setitem__(0, now[0] + seconds)

    clock = SimpleNamespace(perf_counter=lambda: now[0], process_time=lambda: 2.0 * now[0])
    monkeypatch.setattr(measuring, "time", clock)
    prepared = Prepared(taking(1.0), 10, taking(3.0))
    plain, taken = Clock(CPU, 0.0).pairs(taking(1.0), prepared, lambda: None)
    assert plain == [1.0] * 3 and taken == [Taken(1.2, 1.0, 3.0)] * 3
    assert Clock(CPU, 0.0, by_processor=True).time(prepared.step) == 2.0


def test_ceilings_measure_as_often_late_in_a_run_as_their_row_says() -> None:
    """The two kinds of step that are timed are those that a run takes, one measured step in a period."""
    case = SMALL.build(CPU)
    optimizer = CeilingAdam(case.parameters)
    step = by_closure(optimizer, case)
    for _ in range(200):  # by then measurements are as rare as they get
        step()
    prepared = variant("CeilingAdam, every 16th step").prepare(SMALL.build(CPU))
    assert prepared.measured is not None
    for kind in (prepared.measured, prepared.step):
        kind()  # the first step of all has no state that it could be told
    expected = {multiply_adds(prepared.step): prepared.period - 1, multiply_adds(prepared.measured): 1}
    assert Counter(multiply_adds(step) for _ in range(prepared.period)) == expected and len(expected) == 2


def test_a_failure_is_a_row_with_its_reason() -> None:
    def broken(_: Any) -> Prepared:
        def step() -> None:
            raise RuntimeError("no double backward here\nand more")

        return Prepared(step)

    row = measure(SMALL, Variant("broken", "-", "SGD", broken), "here", CLOCK)
    assert row.skipped == "RuntimeError: no double backward here" and row.median is None and row.pairs == 0


def test_parameters_are_put_back_before_each_repetition() -> None:
    seen: list[float] = []

    def prepare(case: Any) -> Prepared:
        first = case.parameters[0]

        def step() -> None:
            seen.append(first.detach().flatten()[0].item())
            with torch.no_grad():
                first.add_(1.0)

        return Prepared(step, warmup=1)

    measure(SMALL, Variant("moving", "-", "SGD", prepare), "here", CLOCK)
    assert len(set(seen)) == 1 and len(seen) == 1 + 3 + 2  # warm-up, pairs, and the two that are watched


# -- selections -------------------------------------------------------------------------------------------------------


def test_selections() -> None:
    assert {spec.name for spec in chosen("quick")} < {spec.name for spec in chosen("standard")}
    assert {spec.name for spec in chosen("compiled")} < {spec.name for spec in chosen("standard")}
    assert len({spec.name for spec in (*CASES, *growth())}) == len(CASES) + len(growth())
    assert [spec.name for spec in chosen("standard", "lstm")] == ["LSTM 256, T64, B32"]
    assert chosen("growth") == growth()
    assert [found.name for found in chosen_variants("lqa,gen")] == ["LQA", "GeN"]
    assert [found.name for found in chosen_variants("auto, comp; LQA")] == ["Auto, compiled", "LQA"]
    assert [found.name for found in chosen_variants("auto")] == ["Auto"], "A whole name is that one alone."
    assert [found.name for found in chosen_variants("rescaledsgd, compiled;")] == ["RescaledSGD, compiled"]
    assert chosen_variants() == VARIANTS and len({each.name for each in VARIANTS}) == len(VARIANTS)
    with pytest.raises(SettingError, match="No network of the overhead has 'alexnet' in its name; they are MLP"):
        chosen("standard", "alexnet")
    with pytest.raises(SettingError, match="No variant has 'shampoo' in its name; they are plain SGD"):
        chosen_variants("shampoo")


def test_large_networks_have_fewer_rows_on_a_processor() -> None:
    standard = [(spec.name, each.name) for spec, each in rows_of("standard")]
    assert ("VGG11, softplus, B256", "RescaledSGD") in standard
    assert ("VGG11, softplus, B256", "curvlinops") not in standard
    assert ("VGG11, softplus, B64", "curvlinops") in standard
    assert not any("compiled" in name for _, name in standard)
    grown = ["Auto", "RescaledSGD", "RescaledSGD, ¼ of the samples", "GeN", "double backward"]
    assert [each.name for _, each in rows_of("growth")] == grown * len(growth())
    assert [each.name for _, each in rows_of("standard", "vgg11", "curvlinops")] == ["curvlinops"] * 2


def test_an_accelerator_measures_the_targets_first_and_compiles_last() -> None:
    pairs = rows_of("cuda")
    assert {spec.name for spec, _ in pairs} == {spec.name for spec in CASES if "cuda" in spec.sets}
    assert len(set(pairs)) == len(pairs)
    compiles = ["compiled" in each.sets for _, each in pairs]
    assert any(compiles) and compiles == sorted(compiles)
    assert {spec.name for spec, each in pairs if "compiled" in each.sets} == {
        "VGG11, softplus, B256", "GPT 12×768, T1024, B8"
    }  # fmt: skip
    begin = {(spec.name, each.name) for spec, each in pairs[:4]}
    assert begin == {
        ("VGG11, softplus, B256", name) for name in
        ("Auto", "RescaledSGD", "RescaledSGD, memory split", "RescaledSGD, ¼ of the samples")
    }  # fmt: skip
    # every variant that a processor measures is measured there too
    assert {each.name for _, each in rows_of("standard")} <= {each.name for _, each in pairs}


def test_growth_varies_one_size_at_a_time() -> None:
    for spec in growth():
        assert isinstance(spec.network, GPTSpec)
        sizes = {
            "width": spec.network.width,
            "depth": spec.network.blocks,
            "batch": spec.batch,
            "length": spec.network.context,
        }
        assert sizes.pop(spec.axis) == spec.value
        base = {"width": 128, "depth": 4, "batch": 16, "length": 64}
        assert sizes == {axis: base[axis] for axis in sizes}


# -- the store --------------------------------------------------------------------------------------------------------


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The variants that were measured, in place of measuring them."""
    found: list[str] = []

    def counted(spec: CaseSpec, each: Variant, machine: str, clock: Clock, known: Known) -> OverheadRow:
        found.append(each.name)
        return OverheadRow(machine, spec.name, each.name, each.gives, each.baseline, 3, 1.0, 1.5, 2.0,
                   source=digest(each.depends), axis=spec.axis, value=spec.value)  # fmt: skip

    monkeypatch.setattr(run, "measure", counted)
    return found


def stores(folder: Path) -> tuple[Store[OverheadRow], Store[Machine]]:
    return rows(folder, OverheadRow), Store(folder / "machines.jsonl", Machine)


def pairs_of(names: str, *specs: CaseSpec) -> list[tuple[CaseSpec, Variant]]:
    return [(spec, each) for spec in specs for each in chosen_variants(names)]


OPTIONS: dict[str, Any] = {"device": CPU, "seconds": 0.0, "threads": 1}


def test_rows_in_the_store_are_not_measured_again(tmp_path: Path, calls: list[str]) -> None:
    (store, machines), first, again = stores(tmp_path), Heard(), Heard()
    before = torch.get_num_threads()
    machine = measure_all(pairs_of("lqa", SMALL), store, machines, first, **OPTIONS)
    assert machine.endswith(", 1 thread") and torch.get_num_threads() == before
    measure_all(pairs_of("lqa,gen", SMALL, TEXT), store, machines, again, **OPTIONS)
    assert calls == ["LQA", "GeN", "LQA", "GeN"]
    assert [stored for _, stored in again.rows] == [True, False, False, False]
    measure_all(pairs_of("lqa", SMALL), store, machines, Heard(), again="all", **OPTIONS)
    assert len(calls) == 5 and len(store.read()) == 4
    assert [each.machine for each in machines.read()] == [machine]


def test_a_size_that_several_axes_share_is_measured_once(tmp_path: Path, calls: list[str]) -> None:
    (store, machines), heard = stores(tmp_path), Heard()
    pairs = [(spec, variant("LQA")) for spec in growth()]
    measure_all(pairs, store, machines, heard, **OPTIONS)
    assert len(heard.rows) == len(store.read()) == 15 and len(calls) == 12, "4×128, T64, B16 is on four axes"
    assert {(row.axis, row.value) for row in store.read()} == {(spec.axis, spec.value) for spec in growth()}


def test_rows_of_other_source_and_disturbed_ones_are_stale(
    tmp_path: Path, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (store, machines), pairs = stores(tmp_path), pairs_of("lqa,double backward", SMALL)
    measure_all(pairs, store, machines, Heard(), **OPTIONS)
    (lqa, double) = store.read()
    measure_all(pairs, store, machines, Heard(), again="stale", **OPTIONS)
    assert calls == ["LQA", "double backward"]
    store.append(replace(double, waited=2 * waiting.MOST))
    store.append(replace(lqa, waited=0.5 * waiting.MOST))
    assert is_stale(store.read()[1], variant("double backward")) and not is_stale(store.read()[0], variant("LQA"))
    measure_all(pairs, store, machines, Heard(), again="stale", **OPTIONS)
    assert calls[2:] == ["double backward"]
    monkeypatch.setattr(run, "digest", lambda depends: "changed" if depends == "library" else digest(depends))
    measure_all(pairs, store, machines, Heard(), again="stale", **OPTIONS)
    assert calls[3:] == ["LQA"], "other libraries' rows do not depend on the engine"


def test_time_is_up(tmp_path: Path, calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """No row is begun after the limit, and the next run goes on with those that were left."""
    now = [0.0]

    def ticking() -> float:
        now[0] += 1.0
        return now[0]

    monkeypatch.setattr(run, "time", SimpleNamespace(monotonic=ticking))
    (store, machines), heard = stores(tmp_path), Heard()
    pairs = pairs_of("lqa,gen,double backward", SMALL)
    measure_all(pairs, store, machines, heard, within=1.5, **OPTIONS)  # begins at 1; asked at 2 and at 3
    assert calls == ["LQA"] and heard.remaining == 2
    measure_all(pairs, store, machines, heard, **OPTIONS)
    assert calls == ["LQA", "GeN", "double backward"]


def test_the_source_is_told_from_another_one(tmp_path: Path) -> None:
    assert digest("library") != digest("peers") and len(digest("peers")) == 12
    one = tmp_path / "one.py"
    one.write_text("a = 1")
    before = source_digest._digest([one])
    one.write_text("a = 2")
    assert source_digest._digest([one]) != before


def test_waiting_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads that waited half a second and a quarter in two seconds."""
    waited, clock = iter((1.0, 1.75)), iter((10.0, 12.0))
    monkeypatch.setattr(waiting, "_waited", lambda: next(waited))
    monkeypatch.setattr(waiting, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    assert waiting.Waiting().share() == pytest.approx(0.375)
    monkeypatch.setattr(waiting, "_waited", lambda: None)
    monkeypatch.setattr(waiting, "time", time)
    assert waiting.Waiting().share() is None


def test_waiting_is_read_from_the_system() -> None:
    found = waiting._waited()
    assert found is None or found >= 0.0
    assert (found is None) == (not Path("/proc/self/task").exists())


def test_a_row_has_four_digits_and_survives_the_file(tmp_path: Path) -> None:
    store, _ = stores(tmp_path)
    row = OverheadRow("here", "net", "variant", "-", "SGD", 3, 1.0, 1.23456, 2.0)
    store.append(row)
    assert store.read() == (replace(row, median=1.235),)
