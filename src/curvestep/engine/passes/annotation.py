"""Where the samples are in every tensor of a recording, by what its operations do and by nothing else.

Three facts keep a note from being a guess:

* A rule vouches for the arguments that it asked for (`AxisSite`): samples in another one leave the answer LOST.
* A tensor of as many rows as there are samples may be data or a table. Its rows are samples for certain (*confirmed*)
  where every row meets the same parameters, or where they meet the rows of such a tensor; a term that meets neither on
  its way to the loss is not split. Where a table lies across such samples it is none of theirs, and is read as shared;
  where none of two that lie across each other is certain, either may be the table, and the answer is LOST.
* Data of another number of rows (*foreign*) belongs to nobody: what it adds to the loss is not split either.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch

from curvestep.engine.data.recording import Recording
from curvestep.engine.data.samples import Annotation, Marker, Owners, SampleAxis
from curvestep.engine.data.value import Node, Value
from curvestep.engine.passes.batch import brings, find_source, gains, is_data, is_drawn, is_weight, meet_alike
from curvestep.engine.rules.axes import elementwise_axis
from curvestep.engine.rules.index import counts_positions
from curvestep.engine.rules.site import AxisSite


@final
@dataclass(frozen=True, slots=True)
class Notes:
    """What is known of the samples.

    Attributes:
        axes: the annotation of every value.
        confirmed: values whose rows are samples, as far as nothing speaks against it; True where they are for certain.
        foreign: values without samples that were made of data of another number of rows.
    """

    axes: dict[Value, Annotation]
    confirmed: dict[Value, bool]
    foreign: set[Value]


def annotate(recording: Recording, reached: set[Value], batch: int) -> Notes:
    """Give every value its annotation, following the operations in order."""
    walk = _Walk(recording, reached, batch)
    while True:
        notes = walk.run()
        if notes is not None:
            return notes


@final
class _Walk:
    """One way through a recording, begun again where a table turns out to lie across the samples."""

    def __init__(self, recording: Recording, reached: set[Value], batch: int) -> None:
        self.recording, self.reached, self.batch = recording, reached, batch
        self.owners = recording.owners
        self.stated = recording.stated_batch_size is not None or self.owners is not None
        found = find_source(recording.nodes, reached, recording.rows)
        self.source = None if found is None else found[0]
        count = batch if self.owners is None else len(self.owners.numbers)
        self.known = found is not None and meet_alike(*found, count, reached)  # its rows are samples for certain
        # A table of positions may happen to have as many rows as there are samples; it counts as data only where
        # nothing else does. What is taken for shared is carried until it meets the samples, which is right either way.
        self.tables = self.source is not None and is_data(self.source)
        # Samples come first, unless their number was stated and the data that meets a parameter says otherwise, or
        # does not say which of its axes is meant. A mask of truth values says nothing: it is often shared.
        self.anywhere = self.square = False
        if (
            self.owners is None
            and self.stated
            and self.source is not None
            and self.source.dtype != torch.bool
            and batch != 1
        ):
            self.anywhere = batch != self.source.shape[0] or not self.known
            self.square = not self.anywhere and self.source.shape.count(batch) > 1
        self.across: set[Value] = set()  # what is read as shared, though it has as many rows as there are samples
        self.axes: dict[Value, Annotation] = {}
        self.confirmed: dict[Value, bool] = {}
        self.foreign: set[Value] = set()

    def run(self) -> Notes | None:
        """The notes, or None where it has to be begun again."""
        axes, confirmed = self.axes, self.confirmed
        axes.clear()
        confirmed.clear()
        self.foreign.clear()
        for _, value in self.recording.leaves.values():
            axes[value] = self._of_leaf(value)
        if isinstance(axes.get(self.source), SampleAxis):  # type: ignore[arg-type]
            confirmed[self.source] = self.known  # type: ignore[index]
        for node in self.recording.nodes:
            inputs = node.inputs
            shared = True
            for value in inputs:
                if axes.get(value, Marker.SHARED) is not Marker.SHARED:
                    shared = False
                    break
            if shared:
                self._without_samples(node)
                continue
            rule = node.rule
            if len(inputs) == 1 and rule is not None and rule.axis is elementwise_axis:
                value = inputs[0]
                known = axes[value]
                for out in node.outputs:
                    if out is not None:
                        axes[out] = known if out.shape == value.shape else self._fitting(known, out)
                        if value in confirmed:
                            confirmed[out] = confirmed[value]
                if rule.draws:
                    self._draw(node)
                continue
            if not self._follow(node):
                return None
        return Notes(axes, confirmed, self.foreign)

    # -- where samples come in ------------------------------------------------------------------------------------

    def _of_leaf(self, value: Value) -> Annotation:
        if value in self.reached or is_weight(value) or not value.shape:
            return Marker.SHARED
        sizes, batch = value.shape, self.batch
        if self.owners is not None and value not in self.across and sizes[0] == len(self.owners.numbers):
            return SampleAxis(0, owners=self.owners) if not self._names_owners(value) else Marker.SHARED
        if batch in sizes and value not in self.across:
            beside = self.anywhere or (self.square and value is not self.source)
            if sizes[0] == batch or (beside and value.dtype != torch.bool):
                return SampleAxis(sizes.index(batch))
        if max(sizes) > 1 and value.dtype != torch.bool and value not in self.across:
            self.foreign.add(value)
        return Marker.SHARED

    def _names_owners(self, value: Value) -> bool:
        """Whether a leaf is the index that says which sample each row belongs to."""
        data = value.data
        if data is None or self.owners is None or data.dim() != 1 or data.is_floating_point():
            return False
        return tuple(data.tolist()) == self.owners.numbers

    def _without_samples(self, node: Node) -> None:
        """Follow an operation on shared values: a batch may be made by it, or drawn out of data."""
        made = not node.inputs and not (self.tables and counts_positions(node.op))
        foreign = False
        if self.foreign and not made:
            moving = any(v in self.reached for v in node.inputs)
            for value in node.inputs:
                if value in self.foreign and (not moving or value in self.reached or gains(node, value, self.reached)):
                    foreign = True
                    break
        for value in node.outputs:
            if value is None:
                continue
            new = made and value.shape[:1] == (self.batch,) and value not in self.across
            self.axes[value] = SampleAxis(0) if new else Marker.SHARED
            if made and self.owners is not None:
                self.axes[value] = self._of_noise(node, value)
            if foreign:
                self.foreign.add(value)
            if value is self.source and new:
                self.confirmed[value] = self.known
        if not node.live and is_drawn(node):
            self._draw(node)

    def _of_noise(self, node: Node, value: Value) -> Annotation:
        """Random rows are those of the samples; counts and blanks are made for all of them."""
        assert self.owners is not None
        drawn = torch.Tag.nondeterministic_seeded in getattr(node.op, "tags", ())
        ours = drawn and value.shape[:1] == (len(self.owners.numbers),)
        return SampleAxis(0, owners=self.owners) if ours else Marker.SHARED

    def _draw(self, node: Node) -> None:
        """Let a batch that is drawn inside the recording be one: a part of the data, or all of it in another order.

        What is read across the samples (`x[0]`) may have another axis of their number: nobody knows which is meant.
        """
        axes = self.axes
        for value in node.outputs:
            if value is None or node.live or value.shape[:1] != (self.batch,) or value in self.across:
                continue
            if self.owners is not None:
                continue
            data, found = node.inputs[0], axes[value]
            reordered = axes.get(data) == SampleAxis(0) and data.shape == value.shape
            if found is Marker.SHARED or (found is Marker.LOST and reordered):
                axes[value] = SampleAxis(0)
                self.foreign.discard(value)
            elif self.stated and isinstance(found, SampleAxis) and found.dim and data.shape[:1] != (self.batch,):
                axes[value] = Marker.LOST
            if value is self.source and isinstance(axes[value], SampleAxis):
                self.confirmed[value] = self.known

    # -- where they go --------------------------------------------------------------------------------------------

    def _follow(self, node: Node) -> bool:
        """Follow an operation on samples; False where a table turned out to lie across them."""
        axes, confirmed = self.axes, self.confirmed
        answers = vouched(node, axes, self.batch, self.owners)
        if len(node.inputs) == 1:  # nothing meets anything
            certain = node.inputs[0] in confirmed
            for value, answer in zip(node.outputs, answers, strict=True):
                if value is not None:
                    axes[value] = answer = self._fitting(answer, value)
                    if certain and isinstance(answer, SampleAxis):
                        confirmed[value] = confirmed[node.inputs[0]]
            if not node.live and is_drawn(node):
                self._draw(node)
            return True
        named = [v for v in node.inputs if isinstance(axes.get(v), SampleAxis)]
        sure = [v for v in named if v in confirmed]
        certain, proved = bool(sure), any([confirmed[v] for v in sure])
        if proved and answers[0] is Marker.LOST and len(sure) < len(named):
            doubtful = [v for v in named if v not in confirmed]
            for values in (doubtful, *[[v] for v in doubtful]):
                if self._lie_across(node, values) and self._read_as_shared(values):
                    return False
        if named and not proved and node.live:
            if any([v in self.reached and axes.get(v) is Marker.SHARED for v in node.inputs]):
                data = [v for v in named if v not in self.reached]
                certain = certain or any([gains(node, v, self.reached) for v in data])
                proved = any([brings(node, v, axes[v].dim, self.reached) for v in data])  # type: ignore[union-attr]
        strange = [v for v in node.inputs if v in self.foreign] if self.foreign and not self.stated else ()
        for value, answer in zip(node.outputs, answers, strict=True):
            if value is None:
                continue
            if isinstance(answer, SampleAxis):
                answer = self._fitting(answer, value)
            if isinstance(answer, SampleAxis):
                if strange and answer.dim and self._gained(node, strange, named, answer, value):
                    answer = Marker.LOST
                elif certain:
                    confirmed[value] = proved
            axes[value] = answer
        if not node.live and is_drawn(node):
            self._draw(node)
        return True

    def _lie_across(self, node: Node, values: Sequence[Value]) -> bool:
        """Whether these inputs lie within the samples, which keep their axis once they are read as shared."""
        product = None if node.rule is None else node.rule.product
        if node.rule is None or (product is not None and product.size is None):
            return False  # of a matrix nobody knows
        found = vouched(node, {**self.axes, **dict.fromkeys(values, Marker.SHARED)}, self.batch, self.owners)[0]
        if not isinstance(found, SampleAxis) and found is not Marker.SUMMED:
            return False
        others = [v for v in node.inputs if v not in values]
        theirs = vouched(node, {**self.axes, **dict.fromkeys(others, Marker.SHARED)}, self.batch, self.owners)[0]
        if isinstance(found, SampleAxis) and isinstance(theirs, SampleAxis):
            return theirs.dim > found.dim
        return isinstance(found, SampleAxis) or theirs is Marker.LOST

    def _read_as_shared(self, values: list[Value]) -> bool:
        """Remember what brought samples into these values: its rows are none. False where that is known."""
        seen: set[Value] = set()
        known = len(self.across)
        values = list(values)
        while values:
            value = values.pop()
            if value in seen or not isinstance(self.axes.get(value), SampleAxis):
                continue
            seen.add(value)
            before = () if value.origin is None else value.origin.inputs
            above = [v for v in before if isinstance(self.axes.get(v), SampleAxis)]
            if not above:
                self.across.add(value)
            values += above
        return len(self.across) > known

    def _fitting(self, answer: Annotation, value: Value) -> Annotation:
        """LOST for an axis that the value does not have."""
        if not isinstance(answer, SampleAxis):
            return answer
        shape = value.shape
        fits = answer.dim < len(shape) and shape[answer.dim] == answer.outer * answer.inner * answer.count(self.batch)
        return answer if fits else Marker.LOST

    def _gained(
        self, node: Node, strange: Sequence[Value], named: Sequence[Value], axis: SampleAxis, value: Value
    ) -> bool:
        """Whether data of another number of rows lies around the samples: then it may be the batch as well."""
        around = math.prod(value.shape[: axis.dim])
        if node.rule is not None and node.rule.product is not None:
            return around > 1 and node.inputs.index(strange[0]) < node.inputs.index(named[0])
        rank = len(value.shape)
        return all(math.prod(v.shape[: max(axis.dim - rank + len(v.shape), 0)]) < around for v in named)


def vouched(
    node: Node, axes: dict[Value, Annotation], batch: int, owners: Owners | None = None
) -> Sequence[Annotation]:
    """What an operation's rule says of each output, as far as it vouches for it."""
    site = AxisSite(node, axes, batch, owners)
    found = _untold(site) if node.rule is None else node.rule.axis(site)
    answers = [found] * len(node.outputs) if isinstance(found, (SampleAxis, Marker)) else found
    for value in node.inputs:
        if value not in site.asked and axes.get(value, Marker.SHARED) is not Marker.SHARED:
            unseen = {axes.get(v, Marker.SHARED) for v in node.inputs if v not in site.asked} - {Marker.SHARED}
            # What is the same for all samples may stand beside them, but is not to be taken for shared.
            beside = unseen <= {Marker.SUMMED, Marker.POOLED}
            return [a if beside and isinstance(a, SampleAxis) else Marker.LOST for a in answers]
    return answers


def _untold(site: AxisSite) -> Annotation:
    """The annotation behind an operation without a rule: known of what works element by element alone."""
    node = site.node
    tags = getattr(node.op, "tags", ())
    known = [site.of(v) for v in node.inputs]
    if torch.Tag.pointwise in tags or torch.Tag.nondeterministic_seeded in tags:
        try:
            shape = torch.broadcast_shapes(*[v.shape for v in node.inputs])
        except RuntimeError:
            return Marker.LOST
        return elementwise_axis(site) if all(v is None or v.shape == shape for v in node.outputs) else Marker.LOST
    return Marker.LOST if any(k is not Marker.SHARED for k in known) else Marker.SHARED
