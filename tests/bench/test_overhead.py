"""The overhead: what is counted, what is skipped and why, what is stored, and the page that is made of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from curvestep.bench.errors import SettingError, StoreError
from curvestep.bench.networks.specs import DenseSpec, GPTSpec
from curvestep.bench.overhead import measure as measuring
from curvestep.bench.overhead.executed import Executed, execute, multiply_adds
from curvestep.bench.overhead.measure import Clock, measure, measure_all
from curvestep.bench.overhead.peers import NotApplicable
from curvestep.bench.overhead.row import ROWS, Row, RowStore
from curvestep.bench.overhead.subjects import SUBJECTS, SubjectSpec, chosen, growth
from curvestep.bench.overhead.ways import WAYS, Prepared, Way, chosen_ways

CPU = torch.device("cpu")
SMALL = SubjectSpec("small", DenseSpec((6, 5, 4, 10), "tanh"), 8, (6,), ())
TEXT = SubjectSpec("text", GPTSpec(65, 5, 1, 8, 2), 4, (5,), ())
CLOCK = Clock(CPU, 0.0)
HEADS = torch.ones(2, 3, 4, 8)


class Heard:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.rows: list[tuple[Row, bool]] = []

    def found(self, row: Row, *, stored: bool) -> None:
        self.rows.append((row, stored))


def way(name: str) -> Way:
    (found,) = [way for way in WAYS if way.name == name]
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


# -- ways -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [SMALL, TEXT], ids=lambda spec: spec.name)
@pytest.mark.parametrize("name", ["RescaledAdam", "RescaledSGD", "LQA", "GeN"])
def test_what_ran_is_what_was_predicted(spec: SubjectSpec, name: str) -> None:
    row = measure(spec, way(name), "here", CLOCK, {})
    assert row.skipped == "" and row.pairs == 3
    assert row.products == pytest.approx(row.predicted, rel=1e-12)
    assert row.products is not None and row.products > 1.0
    assert row.low is not None and row.median is not None and row.high is not None
    assert 0.0 < row.low <= row.median <= row.high
    assert row.memory is not None and row.memory >= 1.0


@pytest.mark.parametrize("name", [way.name for way in WAYS])
def test_every_way_is_measured_or_says_why_not(name: str) -> None:
    row = measure(SMALL, way(name), "here", CLOCK, {})
    assert (row.median is not None) == (row.skipped == "")
    # What needs no other library applies to a dense network.
    assert row.skipped == "" or "is not installed" in row.skipped, row.skipped


@pytest.mark.parametrize("name", ["double backward", "torch.func, jvp of grad", "curvlinops", "BackPACK, Gauss-Newton"])
def test_other_ways_take_the_measured_step(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """τ of the batch's curvature along the gradient, from curvestep's own engine."""
    import curvestep
    from curvestep.bench.overhead import peers

    monkeypatch.setattr(peers, "_LONGEST", float("inf"))
    subject = SMALL.build(CPU)
    with curvestep.record() as tape:
        subject.loss().backward()
    direction = [p.grad.clone() for p in subject.parameters if p.grad is not None]
    kind = "ggn" if "Gauss" in name else "exact"
    found = tape.curvature(subject.parameters, direction, kind=kind)
    step_size = (found.slope / found.total.abs()).item()
    expected = [p.detach() - step_size * d for p, d in zip(subject.parameters, direction, strict=True)]
    try:
        prepared = way(name).prepare(subject)
    except NotApplicable as reason:
        pytest.skip(str(reason))
    prepared.step()
    for p, goal in zip(subject.parameters, expected, strict=True):
        # float32: products of two routes, summed in other orders
        torch.testing.assert_close(p.detach(), goal, rtol=1e-4, atol=1e-5)


def test_a_period_holds_all_that_repeats() -> None:
    """Auto and GeN measure on some steps only: after the warm-up every period holds equally many."""
    for each in WAYS:
        if not each.name.startswith(("Auto", "GeN")):
            continue
        subject = SMALL.build(CPU)
        prepared = each.prepare(subject)
        for _ in range(prepared.warmup):
            prepared.step()
        counts = [multiply_adds(prepared.step) for _ in range(2 * prepared.period)]
        assert counts[: prepared.period] == counts[prepared.period :], each.name
        assert len(set(counts)) == 2, f"{each.name} measures on some steps and not on others"


def test_a_failure_is_a_row_with_its_reason() -> None:
    def broken(_: Any) -> Prepared:
        def step() -> None:
            raise RuntimeError("no double backward here\nand more")

        return Prepared(step)

    row = measure(SMALL, Way("broken", "-", "SGD", broken), "here", CLOCK, {})
    assert row.skipped == "RuntimeError: no double backward here" and row.median is None and row.pairs == 0


def test_parameters_are_put_back_before_each_repetition() -> None:
    seen: list[float] = []

    def prepare(subject: Any) -> Prepared:
        first = subject.parameters[0]

        def step() -> None:
            seen.append(first.detach().flatten()[0].item())
            with torch.no_grad():
                first.add_(1.0)

        return Prepared(step, warmup=1)

    measure(SMALL, Way("moving", "-", "SGD", prepare), "here", CLOCK, {})
    assert len(set(seen)) == 1 and len(seen) == 1 + 3 + 2  # warm-up, pairs, and the two that are watched


# -- selections -------------------------------------------------------------------------------------------------------


def test_selections() -> None:
    assert {spec.name for spec in chosen("quick")} < {spec.name for spec in chosen("standard")}
    assert {spec.name for spec in chosen("full")} - {spec.name for spec in chosen("standard")} == {
        "VGG11, softplus, B256"
    }
    assert len({spec.name for spec in (*SUBJECTS, *growth())}) == len(SUBJECTS) + len(growth())
    assert [spec.name for spec in chosen("standard", "lstm")] == ["LSTM 256, T64, B32"]
    assert [found.name for found in chosen_ways("lqa,gen")] == ["LQA", "GeN"]
    with pytest.raises(SettingError, match="No network of the overhead has 'alexnet' in its name; they are MLP"):
        chosen("standard", "alexnet")
    with pytest.raises(SettingError, match="No way has 'shampoo' in its name; they are Auto"):
        chosen_ways("shampoo")


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


def test_rows_in_the_store_are_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def counted(
        spec: SubjectSpec, each: Way, machine: str, clock: Clock, plains: dict[tuple[str, str], Executed]
    ) -> Row:
        calls.append(each.name)
        return Row(machine, spec.name, each.name, each.gives, each.baseline, 3, 1.0, 1.5, 2.0)

    monkeypatch.setattr(measuring, "measure", counted)
    store, first, again = RowStore(tmp_path), Heard(), Heard()
    options: dict[str, Any] = {"device": CPU, "seconds": 0.0, "threads": 1}
    before = torch.get_num_threads()
    machine = measure_all([SMALL], chosen_ways("lqa"), store, first, **options)
    assert machine.endswith(", 1 thread") and torch.get_num_threads() == before
    measure_all([SMALL, TEXT], chosen_ways("lqa,gen"), store, again, **options)
    assert calls == ["LQA", "GeN", "LQA", "GeN"]
    assert [stored for _, stored in again.rows] == [True, False, False, False]
    measure_all([SMALL], chosen_ways("lqa"), store, Heard(), afresh=True, **options)
    assert len(calls) == 5 and len(store.read()) == 4
    assert set(store.environments()) == {machine}


def test_a_torn_line_is_left_out_and_replaced(tmp_path: Path) -> None:
    store = RowStore(tmp_path)
    row = Row("here", "net", "way", "-", "SGD", 3, 1.0, 1.23456, 2.0)
    store.append(row, {"torch": "2"})
    path = tmp_path / ROWS
    path.write_text(path.read_text() + '{"machine": "he')
    assert store.read() == (replace(row, median=1.235),)
    store.append(replace(row, method="other"), {"torch": "2"})
    assert [json.loads(line)["method"] for line in path.read_text().splitlines()] == ["way", "other"]
    path.write_text("{}\n" + path.read_text())
    with pytest.raises(StoreError, match="Line 1 of .* is no row of the overhead"):
        store.read()
