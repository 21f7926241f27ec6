"""Plans looked up by the structure of a recording: a network that runs again on a batch as large is analysed once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, final

from curvestep.engine.data.curvature import Order
from curvestep.engine.data.recording import Recording
from curvestep.engine.data.samples import Annotation
from curvestep.engine.data.value import Value
from curvestep.engine.passes.analysis import Plan, analyse, gauss_newton
from curvestep.engine.passes.structure import Key, remember, structure_of


@final
@dataclass(frozen=True, slots=True)
class _Numbered:
    """A plan in which operations and values have the places that they have in the recording."""

    plan: Plan  # without any
    rules: tuple[Any, ...]  # those of the operations, held so that nothing else takes their ids
    steps: tuple[int, ...]
    last_use: dict[int, int]
    axes: dict[int, Annotation]
    clean: tuple[int, ...]
    foreign: tuple[int, ...]

    @classmethod
    def of(cls, plan: Plan, recording: Recording, values: list[Value]) -> _Numbered:
        """Number what a plan names."""
        place = {id(node): i for i, node in enumerate(recording.nodes)}
        number = {value: i for i, value in enumerate(values)}
        return cls(
            replace(plan, steps=(), last_use={}, axes={}, clean=frozenset(), foreign=frozenset()),
            tuple([node.rule for node in recording.nodes]),
            tuple([place[id(node)] for node in plan.steps]),
            {number[v]: i for v, i in plan.last_use.items()},
            {number[v]: axis for v, axis in plan.axes.items() if v in number},  # a leaf may be read by no operation
            tuple([number[v] for v in plan.clean if v in number]),
            tuple([number[v] for v in plan.foreign if v in number]),
        )

    def named(self, recording: Recording, values: list[Value]) -> Plan:
        """The plan of a recording of this structure."""
        plan, nodes = self.plan, recording.nodes
        return Plan(
            tuple([nodes[i] for i in self.steps]),
            {values[i]: step for i, step in self.last_use.items()},
            plan.batch,
            {values[i]: axis for i, axis in self.axes.items()},
            frozenset([values[i] for i in self.clean]),
            plan.separable,
            plan.apart,
            plan.bends,
            {values[i] for i in self.foreign},
            plan.alone,
            plan.guessed,
            plan.owned,
        )


_PLANS: OrderedDict[Key, _Numbered] = OrderedDict()
_MOST_ENTRIES = 1 << 16  # of all keys together, some 10 MB


def planned(recording: Recording, root: Value, moving: Iterable[Value], kind: Order) -> Plan:
    """Plan a pass along these leaves, once for each structure.

    Where an operation's axis rule reads values (an index), the plan is made anew: it would have to be looked up by what
    lies on the device.

    Returns:
        What `analyse`, and for its kind `gauss_newton`, give.
    """
    moving = set(moving)
    computed = recording.computed_from(moving)
    rules = [node.rule for node in recording.nodes]
    fixed = all([rule is None or rule.reads_values is None for rule in rules])
    structure = None
    if fixed and recording.owners is None and computed == moving:
        lives = tuple([node.live for node in recording.nodes])
        structure = structure_of(recording, root, moving, kind, lives, *map(id, rules))
    if structure is not None:
        known = _PLANS.get(structure[0])
        if known is not None:
            remember(_PLANS, structure[0], known, _MOST_ENTRIES)
            return known.named(recording, structure[1])
    plan = analyse(recording, root, moving, computed)
    if kind == "ggn":
        plan = gauss_newton(plan, root, moving)
    if structure is not None:
        remember(_PLANS, structure[0], _Numbered.of(plan, recording, structure[1]), _MOST_ENTRIES)
    return plan
