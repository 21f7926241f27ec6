"""The way from where a run began to where it is: losses on it, and the parameters put back to its beginning."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from curvestep._errors import RecordingError
from curvestep._numerics import add, as_dtype, squares, to_host, total
from curvestep._shards import any_sharded, counted, forget_gathered, locals_of
from curvestep.directions import State
from curvestep.optim._average import WINDOW_START
from curvestep.optim._processes import Group, averaged
from curvestep.optim._recordings import Recordings


def losses_on_the_way(
    recordings: Recordings,
    groups: Sequence[dict[str, Any]],
    states: Mapping[Tensor, State],
    points: Sequence[float],
    group: Group,
) -> list[float]:
    """Return J(θ), and J(x₀ + t (θ − x₀)) for each t, on the recorded batch; NaN for those that cannot be had.

    Args:
        recordings: The recorded loss, with the parameters at θ.
        groups: The optimizer's.
        states: The optimizer's; x₀ is the beginning of the first window.
        points: The t.
        group: The processes that share the model.

    Raises:
        RecordingError: The parameters are sharded, and the recording cannot be run again at other points.

    Cost:
        A forward for each t, and one host synchronisation.
    """
    owned = [
        (p, float(each.get("weight_decay", 0.0)))
        for each in groups
        for p in each["params"]
        if p.requires_grad and WINDOW_START in states.get(p, ())
    ]
    parameters = [p for p, _ in owned]
    places = [p.detach() for p in locals_of(parameters)]
    begun = [as_dtype(states[p][WINDOW_START], place.dtype) for p, place in zip(parameters, places, strict=True)]
    way = add(places, begun, alpha=-1.0)
    loss = recordings.loss
    assert loss is not None, "What has a recording has its loss."
    try:
        found = list(recordings.losses_along(parameters, way, [t - 1.0 for t in points]).unbind())
    except RecordingError:
        if any_sharded(parameters):  # a process that went on alone would wait for the others
            raise
        found = [torch.full_like(loss, math.nan) for _ in points]
    terms = []
    for t, value in zip((1.0, *points), (loss, *found), strict=True):
        term = value
        for (parameter, decay), place, step in zip(owned, places, way, strict=True):
            if decay > 0.0:
                square = total(counted(squares(add([place], [step], alpha=t - 1.0)), [parameter]))
                term = term + (square * (0.5 * decay)).to(term.device)
        terms.append(term)
    return to_host(*averaged(terms, group))


def put_back(parameters: Sequence[Tensor], states: Mapping[Tensor, State]) -> None:
    """Write θ ← x₀, bit for bit what the parameters were before the first step."""
    for parameter, place in zip(parameters, locals_of(parameters), strict=True):
        place.detach().copy_(states[parameter][WINDOW_START])
    forget_gathered(list(parameters))
