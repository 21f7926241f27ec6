"""Precision of a pass: the digits that every setting keeps, at every length of the direction, and who works in what."""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import curvestep
from benchmarks.precision.subjects import BUILDS, Subject, subject
from curvestep.engine.passes import precision, sweep

FLOAT32 = [
    ("naive", {"products": "naive"}, {}),
    ("polarised", {"products": "polarised"}, {}),
    ("auto", {"products": "auto"}, {}),
    ("split", {"memory": "split"}, {}),
    ("a tenth of the cotangents", {"memory": 0.1, "products": "polarised"}, {}),
    ("quarter", {"products": "polarised"}, {"samples": 0.25}),
    ("tangent", {"products": "polarised"}, {"form": "tangent"}),
    ("taylor", {"products": "polarised"}, {"form": "taylor"}),
    ("ggn", {"products": "polarised"}, {"kind": "ggn"}),
    ("ggn of a quarter, split", {"memory": "split"}, {"kind": "ggn", "samples": 0.25}),
]
NORMS = (1e-8, 1e-4, 1.0, 1e4)
#: Bounds of |q_s − exact| over the largest |q_s|. The largest errors found (docs/precision.md): 2e-6, 1e-3 and 1.2e-2.
PROMISED, HALF, BRAIN = 1e-4, 3e-3, 3e-2


def rows(cases: list[Any]) -> list[Any]:
    """Every network in every case, but parts of a batch normalised as a whole, and LSTMs of float16 on a CPU."""
    return [
        pytest.param(net, *case, id=f"{net}, {name}")
        for net in BUILDS
        for name, *case in cases
        if not (net.startswith("BatchNorm") and any("samples" in c for c in case if isinstance(c, dict)))
        and not (net == "LSTM" and torch.float16 in case)
    ]


@pytest.mark.parametrize(("name", "record", "options"), rows(FLOAT32))
def test_float32_keeps_four_digits_at_every_speed(name: str, record: dict[str, Any], options: dict[str, Any]) -> None:
    one = subject(name, 0)  # a seed at which float32 and float64 pass every kink on the same side
    (exact, _), = one.curvature(1.0, dtype=torch.float64, options=[options])  # fmt: skip
    for norm in NORMS:
        (found, _), = one.curvature(norm, record=record, options=[options])  # fmt: skip
        assert (found - exact).abs().max() <= PROMISED * exact.abs().max(), norm


SIXTEEN = [
    ("brain", None, {}, {"precision": "bfloat16"}, BRAIN),
    ("brain, split", None, {"memory": "split"}, {"precision": "bfloat16"}, BRAIN),
    ("brain, taylor", None, {}, {"precision": "bfloat16", "form": "taylor"}, BRAIN),
    ("brain, ggn", None, {}, {"precision": "bfloat16", "kind": "ggn"}, BRAIN),
    ("brain, quarter", None, {}, {"precision": "bfloat16", "samples": 0.25}, BRAIN),
    ("autocast", torch.bfloat16, {}, {}, BRAIN),
    ("autocast, brain", torch.bfloat16, {}, {"precision": "bfloat16"}, BRAIN),
    ("autocast, float32", torch.bfloat16, {}, {"precision": "float32"}, PROMISED),
    ("autocast, float32, split", torch.bfloat16, {"memory": "split"}, {"precision": "float32"}, PROMISED),
    ("autocast, float32, taylor", torch.bfloat16, {}, {"precision": "float32", "form": "taylor"}, PROMISED),
    ("autocast, float32, ggn", torch.bfloat16, {}, {"precision": "float32", "kind": "ggn"}, PROMISED),
    ("autocast, float32, quarter", torch.bfloat16, {}, {"precision": "float32", "samples": 0.25}, PROMISED),
    ("autocast, tf32", torch.bfloat16, {}, {"precision": "tf32"}, PROMISED),
    ("half", torch.float16, {}, {}, HALF),
    ("half, taylor", torch.float16, {}, {"form": "taylor"}, HALF),
    ("half, quarter", torch.float16, {}, {"samples": 0.25}, HALF),
    ("half, float32", torch.float16, {}, {"precision": "float32"}, PROMISED),
    ("half, brain", torch.float16, {}, {"precision": "bfloat16"}, BRAIN),
]


@pytest.mark.parametrize(("name", "autocast", "record", "options", "bound"), rows(SIXTEEN))
def test_the_rounding_of_the_pass_is_that_of_its_dtype(
    name: str, autocast: torch.dtype | None, record: dict[str, Any], options: dict[str, Any], bound: float
) -> None:
    one = subject(name, 0)
    ways = [options, {**options, "precision": "float64"}]
    for norm in (1e-8, 1.0, 1e4):
        (found, total), (exact, mean) = one.curvature(norm, autocast=autocast, record=record, options=ways)
        assert (found - exact).abs().max() <= bound * exact.abs().max(), norm
        assert (total - mean).abs() <= bound * exact.abs().mean(), norm


def recorded(one: Subject, autocast: torch.dtype | None = None, **record: Any) -> tuple[curvestep.Tape, list[Tensor]]:
    """A recording and the parameters of it."""
    net = copy.deepcopy(one.net)
    with curvestep.record(**record) as tape:
        with torch.autocast("cpu", autocast or torch.bfloat16, enabled=autocast is not None):
            loss = F.cross_entropy(net(one.inputs).flatten(0, -2), one.targets.flatten())
        loss.backward()
    return tape, list(net.parameters())


@pytest.mark.parametrize("autocast", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["dense, softplus", "BatchNorm, SiLU", "GPT"])
def test_sixteen_bits_round_alike_at_every_length(name: str, autocast: torch.dtype) -> None:
    one = subject(name, 0)
    tape, params = recorded(one, autocast)
    unit = tape.curvature(params, one.direction)
    assert unit.per_sample is not None
    for power in (-30, -13, 7, 20):
        found = tape.curvature(params, [d * 2.0**power for d in one.direction])
        assert found.per_sample is not None
        # A power of two changes exponents alone: not a bit is lost to underflow or overflow.
        assert torch.equal(found.per_sample, unit.per_sample * 4.0**power)
        assert torch.equal(found.total, unit.total * 4.0**power)
        assert torch.equal(found.slope, unit.slope * 2.0**power)


def test_without_its_scale_float16_would_lose_a_short_direction(monkeypatch: pytest.MonkeyPatch) -> None:
    one = subject("dense, softplus", 0)
    tape, params = recorded(one, torch.float16)
    short = [d * 2.0**-30 for d in one.direction]
    assert tape.curvature(params, short).total != 0
    monkeypatch.setattr(precision, "has_float16", lambda plan: False)
    assert tape.curvature(params, short).total == 0


def test_a_direction_of_zeros_has_no_curvature() -> None:
    tape, params = recorded(subject("dense, softplus", 0), torch.float16)
    assert tape.curvature(params, [torch.zeros_like(p) for p in params]).total == 0


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, set[torch.dtype]]]:
    """The dtypes of the first tangents that leave each operation."""
    found: dict[str, set[torch.dtype]] = {}
    outgoing = sweep.outgoing

    def spy(node: Any, *args: Any) -> Iterator[Any]:
        for value, dy, ddy in outgoing(node, *args):
            if dy is not None:
                found.setdefault(node.name.split(".")[1], set()).add(dy.dtype)
            yield value, dy, ddy

    monkeypatch.setattr(sweep, "outgoing", spy)
    yield found


@pytest.mark.parametrize("name", ["VGG, ReLU, max pool", "BatchNorm, SiLU", "GPT"])
def test_bfloat16_carries_what_lies_between_products_and_sums_in_float32(
    name: str, seen: dict[str, set[torch.dtype]]
) -> None:
    one = subject(name, 0)
    tape, params = recorded(one)
    tape.curvature(params, one.direction, precision="bfloat16")
    brain, single = {torch.bfloat16}, {torch.float32}
    assert seen["_log_softmax"] == seen["nll_loss_forward"] == single
    names = {
        "VGG, ReLU, max pool": ("convolution", "relu", "max_pool2d_with_indices", "addmm"),
        "BatchNorm, SiLU": ("convolution", "native_batch_norm", "silu", "avg_pool2d", "addmm"),
        "GPT": ("gelu", "_scaled_dot_product_flash_attention_for_cpu"),
    }
    for operation in names[name]:
        assert seen[operation] == brain, operation


def test_float32_carries_nothing_in_sixteen_bits(seen: dict[str, set[torch.dtype]]) -> None:
    one = subject("GPT", 0)
    tape, params = recorded(one, torch.bfloat16)
    found = tape.curvature(params, one.direction, precision="float32")
    assert set().union(*seen.values()) == {torch.float32}
    assert found.total.dtype == torch.float32
    seen.clear()
    tape.curvature(params, one.direction)
    assert torch.bfloat16 in set().union(*seen.values())


@pytest.mark.parametrize("mode", ["bfloat16", "tf32"])
def test_two_products_are_for_digits_that_these_do_not_have(mode: Any) -> None:
    one = subject("dense, softplus", 0)
    found = []
    for products in ("naive", "polarised"):
        tape, params = recorded(one, products=products)
        found.append(tape.curvature(params, one.direction, precision=mode).total)
    assert torch.equal(*found)


@pytest.mark.parametrize("mode", ["float64", "float32", "bfloat16", "tf32"])
def test_a_penalty_on_weights_keeps_its_digits(mode: Any) -> None:
    torch.manual_seed(0)
    net = nn.Linear(4, 3)
    params, direction = list(net.parameters()), [torch.randn(3, 4), torch.randn(3)]
    x, y = torch.randn(6, 4), torch.randint(0, 3, (6,))
    with curvestep.record() as tape:
        penalty = 50.0 * sum((p * p).sum() for p in params)
        (F.cross_entropy(net(x), y) + penalty).backward()
    found = tape.curvature(params, direction, precision=mode)
    tape.release()
    with curvestep.record() as tape:
        F.cross_entropy(net(x), y).backward()
    bent = tape.curvature(params, direction, precision="float64").total
    exact = 100.0 * sum(float((d.double() ** 2).sum()) for d in direction)
    # bfloat16 rounds what comes from the data, here a thousandth of the whole, by less than a hundredth
    assert found.total.item() == pytest.approx(exact + bent.item(), rel=1e-5)


def test_a_net_in_float64_keeps_its_digits_where_float32_is_asked_for() -> None:
    theta = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    with curvestep.record() as tape:
        (theta**3).sum().backward()
    found = tape.curvature([theta], [torch.tensor([1e-3, 0.1], dtype=torch.float64)], precision="float32")
    assert found.total.dtype == torch.float64
    assert found.total.item() == pytest.approx(6e-6 + 0.12, rel=1e-14)


def test_complex_numbers_stay_complex_beside_bfloat16() -> None:
    torch.manual_seed(0)
    w, x = torch.randn(8, 8, requires_grad=True), torch.randn(5, 8)
    d = torch.randn(8, 8)
    with curvestep.record() as tape:
        torch.fft.rfft(x @ w).abs().square().mean().backward()
    exact, found = (tape.curvature([w], [d], precision=mode).total.item() for mode in ("float64", "bfloat16"))
    assert found == pytest.approx(exact, rel=BRAIN)


def test_a_write_in_place_and_dropout_work_in_another_dtype() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(16, 3))
    x, y = torch.randn(8, 6), torch.randint(0, 3, (8,))
    params = list(net.parameters())
    direction = [torch.randn_like(p) for p in params]
    with curvestep.record() as tape:
        h = net[:3](x)
        h[:, 0].mul_(0.5)
        F.cross_entropy(net[3](h), y).backward()
    exact = tape.curvature(params, direction, precision="float64").per_sample
    assert exact is not None
    for mode in ("float32", "bfloat16"):
        found = tape.curvature(params, direction, precision=mode).per_sample
        assert found is not None
        assert (found - exact).abs().max() <= BRAIN * exact.abs().max()


# -- TensorFloat-32 ---------------------------------------------------------------------------------------------------


def settings() -> list[str]:
    """What torch runs float32 products in."""
    backends: Any = torch.backends
    places = (backends, backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv)
    return [str(place.fp32_precision) for place in places]


@pytest.mark.parametrize("outside", ["none", "ieee", "tf32"])
@pytest.mark.parametrize("path", ["", "cuda.matmul", "mkldnn.conv"])
def test_tf32_is_set_within_the_pass_and_put_back(path: str, outside: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place: Any = operator.attrgetter(path)(torch.backends) if path else torch.backends
    before = settings()
    within: list[list[str]] = []
    outgoing = sweep.outgoing

    def spy(*args: Any) -> Iterator[Any]:
        within.append(settings())
        return outgoing(*args)

    monkeypatch.setattr(sweep, "outgoing", spy)
    one = subject("dense, softplus", 0)
    tape, params = recorded(one)
    try:
        place.fp32_precision = outside
        chosen = settings()
        tape.curvature(params, one.direction, precision="tf32")
        assert all(w == ["tf32"] * len(w) for w in within)
        assert settings() == chosen
        with pytest.raises(ZeroDivisionError):
            with precision.tensorfloat32():
                _ = 1 // 0
        assert settings() == chosen
        tape.curvature(params, one.direction)
        assert within[-1] == chosen
    finally:
        place.fp32_precision = "none"
    assert settings() == before


def test_a_setting_that_was_never_made_goes_on_to_follow_the_one_above() -> None:
    backends: Any = torch.backends
    before = settings()
    try:
        backends.fp32_precision = "ieee"
        with precision.tensorfloat32():
            pass
        assert set(settings()) == {"ieee"}
        backends.fp32_precision = "tf32"
        assert set(settings()) == {"tf32"}
    finally:
        backends.fp32_precision = "none"
    assert settings() == before


def test_another_precision_is_refused() -> None:
    tape, params = recorded(subject("dense, softplus", 0))
    with pytest.raises(ValueError, match="precision must be one of recorded, .*, but precision='half' was given"):
        tape.curvature(params, params, precision="half")  # pyright: ignore[reportArgumentType]


def test_curvature_is_finite_where_float16_would_overflow() -> None:
    one = subject("dense, softplus", 0)
    tape, params = recorded(one, torch.float16)
    found = tape.curvature(params, [d * 2.0**20 for d in one.direction])
    assert math.isfinite(found.total.item()) and math.isfinite(found.slope.item())
