"""How a recording is cut, looked up by its structure: found and checked once for each."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from curvestep.engine.data.curvature import Order
from curvestep.engine.data.recording import Recording
from curvestep.engine.data.rule import NotCut
from curvestep.engine.data.value import Value
from curvestep.engine.passes.analysis import analyse, gauss_newton
from curvestep.engine.passes.cut.derive import RecordingCut, derive
from curvestep.engine.passes.cut.verify import verify
from curvestep.engine.passes.structure import Key, remember, structure_of


def find_cut(recording: Recording, root: Value, moving: Iterable[Value], kind: Order) -> RecordingCut:
    """How to cut the tape, or why that cannot be done; a tape of known structure is not looked at twice."""
    moving = set(moving)
    computed = recording.computed_from(moving)
    plain = computed == moving and recording.owners is None
    structure = structure_of(recording, root, moving, kind) if plain else None
    known = None if structure is None else _CUTS.get(structure[0])
    if structure is not None and known is not None:
        remember(_CUTS, structure[0], known, _MOST_ENTRIES)
        return known
    plan = analyse(recording, root, moving, computed)
    if kind == "ggn":
        plan = gauss_newton(plan, root, moving)
    try:
        found = derive(plan, root, {node: i for i, node in enumerate(recording.nodes)})
        verify(recording.nodes, plan, found)
    except NotCut as why:
        found = RecordingCut(plan.batch, str(why))
    if structure is not None:
        remember(_CUTS, structure[0], found, _MOST_ENTRIES)
    return found


_CUTS: OrderedDict[Key, RecordingCut] = OrderedDict()
_MOST_ENTRIES = 1 << 19  # of all keys together, some 50 MB: a hundred shapes of a large network, thousands of a small
