"""Rows of curvestep.engine.rules.scatter."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from tests.engine.ops.row import Row, apart, coin, integers, normal

I = torch.tensor([2, 0, 2])  # noqa: E741
ONCE = torch.tensor([2, 0, 3])
INTO = [normal(3, 4), normal(3, 3)]
PLACES = torch.tensor([[0, 0, 3], [1, 2, 1], [3, 0, 0]])


def index_put(accumulate: bool) -> Any:
    return lambda x, y: x.index_put(
        (torch.arange(3).unsqueeze(1), PLACES if accumulate else PLACES.sort(1).values[:, :1]),
        y if accumulate else y[:, :1],
        accumulate,
    )


def assigned(x: Tensor, y: Tensor) -> Tensor:
    z = x * 1.0
    z[:, ONCE] = y
    return z


def masked(x: Tensor, mask: Tensor) -> Tensor:
    z = x * 1.0
    z[mask] = 0.5
    return z


def into(name: str, run: Any, desc: str = "", inputs: Any = None, **more: Any) -> Row:
    return Row(f"aten.{name}", run, INTO if inputs is None else inputs, desc, sampled=(0, 1), **more)


def one_hot(index: Tensor, size: int, like: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(index, size).to(like.dtype)


def index_reduced(mode: str) -> Any:
    def run(x: Tensor, y: Tensor) -> Tensor:
        with warnings.catch_warnings():  # it says that it may change
            warnings.simplefilter("ignore")
            return x.index_reduce(1, I, y, mode)

    return run


def added(x: Tensor, y: Tensor) -> Tensor:
    return x + y @ one_hot(I, 4, x)


def reduced(mode: str, include: bool = True) -> Any:
    return lambda x, y: x.scatter_reduce(1, PLACES, y, mode, include_self=include)


def reduced_formula(mode: str, include: bool = True) -> Any:
    def run(x: Tensor, y: Tensor) -> Tensor:
        rows = []
        for b in range(3):
            row = []
            for c in range(4):
                hits = [y[b, j] for j in range(3) if int(PLACES[b, j]) == c]
                parts = ([x[b, c]] if include or not hits else []) + hits
                held = torch.stack(parts)
                row.append({"sum": held.sum, "mean": held.mean, "amax": held.amax, "amin": held.amin}[mode]())
            rows.append(torch.stack(row))
        return torch.stack(rows)

    return run


def windows(x: Tensor) -> Tensor:
    return torch.stack([x[:, i : i + 3] for i in range(0, 5, 2)], 1)


REDUCE = [
    ("sum", True),
    ("sum", False),
    ("mean", True),
    ("mean", False),
    ("amax", True),
    ("amax", False),
    ("amin", True),
]

ROWS = [
    into("index_add.default", lambda x, y: x.index_add(1, I, y, alpha=0.7), explicit=lambda x, y: added(x, 0.7 * y)),
    into("index_copy.default", lambda x, y: x.index_copy(1, ONCE, y)),
    into("scatter.src", lambda x, y: x.scatter(1, ONCE.expand(3, 3), y)),
    Row("aten.scatter.value", lambda x: x.scatter(1, PLACES, 2.0), [normal(3, 4)]),
    into("scatter_add.default", lambda x, y: x.scatter_add(1, PLACES, y)),
    Row("aten.index_fill.int_Scalar", lambda x: x.index_fill(1, ONCE, 2.0), [normal(3, 4)]),
    Row("aten.index_fill.int_Tensor", lambda x, v: x.index_fill(1, ONCE, v.sum()), [normal(3, 4), normal(2)]),
    Row(
        "aten.select_scatter.default", lambda x, y: x.select_scatter(y, 1, 2), [normal(3, 4), normal(3)], sampled=(0, 1)
    ),
    Row(
        "aten.select_scatter.default",
        lambda x, y: x.select_scatter(y, 1, 2),
        [normal(3, 4, 2), normal(3, 2)],
        "three axes",
        sampled=(0, 1),
    ),
    Row(
        "aten.slice_scatter.default",
        lambda x, y: x.slice_scatter(y, 1, 1, 3),
        [normal(3, 4), normal(3, 2)],
        sampled=(0, 1),
    ),
    Row("aten.diagonal_scatter.default", lambda x, y: x.diagonal_scatter(y), [normal(4, 5), normal(4)], sampled=()),
    Row(
        "aten.masked_scatter.default",
        lambda x, y, m: x.masked_scatter(m, y),
        [normal(4, 5), normal(20), coin(4, 5)],
        sampled=(),
    ),
    Row("aten.masked_select.default", lambda x, m: x.masked_select(m), [normal(4, 3), coin(4, 3)], sampled=()),
    Row("aten.take.default", lambda i, x: x.take(i), [integers(8)(3, 5), normal(4, 2)], "of weights"),
    Row("aten.put.default", lambda x, y: x.put(torch.tensor([2, 0, 3, 7]), y), [normal(4, 2), normal(4)], sampled=()),
    into("index_put.default", index_put(True), "accumulated", exact=None),
    into("index_put.default", index_put(False), "once", exact=None),
    into("mul.Tensor", assigned, "an assignment"),
    Row("aten.mul.Tensor", masked, [normal(3, 4), coin(3, 4)], "a number where a mask says", (0, 1)),
    Row(
        "aten._index_put_impl_.default",
        lambda x, y: torch.ops.aten._index_put_impl_(x * 1.0, [None, ONCE], y),
        INTO,
        sampled=(0, 1),
        explicit=lambda x, y: x.index_put((torch.arange(3).unsqueeze(1), ONCE), y),
    ),
    Row(
        "aten._unsafe_index.Tensor",
        lambda x: torch.ops.aten._unsafe_index(x, [torch.tensor([2, 0, 3, 1, 2])]),
        [normal(4, 2)],
        sampled=(),
        explicit=lambda x: x[torch.tensor([2, 0, 3, 1, 2])],
    ),
    Row(
        "aten.fill.Tensor",
        lambda x: torch.ops.aten.fill.Tensor(x, x.sum()),
        [normal(4, 2)],
        sampled=(),
        explicit=lambda x: x.sum() * torch.ones_like(x),
    ),
    *[
        into(
            "scatter_reduce.two",
            reduced(mode, include),
            f"{mode} {'with' if include else 'without'} self",
            [apart(3, 4), normal(3, 3)],
            explicit=reduced_formula(mode, include),
            smooth=mode in {"sum", "mean"},
        )
        for mode, include in REDUCE
    ],
    *[
        into(
            "index_reduce.default",
            index_reduced(mode),
            mode,
            [apart(3, 4), normal(3, 3)],
            explicit=lambda x, y, m=mode: x.scatter_reduce(1, I.expand(3, 3), y, m),
            smooth=mode == "mean",
        )
        for mode in ("mean", "amax")
    ],
    Row("aten.unfold.default", lambda x: (x * x).unfold(1, 3, 2), [normal(3, 8)], explicit=lambda x: windows(x * x)),
    Row(
        "aten.unfold_backward.default",
        lambda x: torch.ops.aten.unfold_backward(x * x, [6, 2], 0, 3, 1),
        [normal(4, 2, 3)],
        sampled=(),
    ),
    Row("aten.rot90.default", lambda x: (x * x).rot90(1, (1, 2)), [normal(3, 2, 4)]),
    Row(
        "aten.as_strided.default",
        lambda x: (x * x).as_strided((3, 4, 3), (6, 1, 1)),
        [normal(3, 6)],
        explicit=lambda x: (x * x).unfold(1, 3, 1),
    ),
    Row("aten.as_strided.default", lambda x: (x * x).as_strided((2, 2), (1, 3), 1), [normal(3, 4)], "of weights", ()),
]
