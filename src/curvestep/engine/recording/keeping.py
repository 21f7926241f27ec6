"""What a recording holds of the inputs of an operation."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any

from torch import Tensor

from curvestep.engine.data.geometry import version_of
from curvestep.engine.data.recording import Recording
from curvestep.engine.data.value import Value
from curvestep.engine.recording.beneath import Beneath
from curvestep.engine.recording.facts import OpFacts
from curvestep.engine.recording.reads import reads


def keep(
    recording: Recording,
    known: OpFacts,
    values: Sequence[Any],
    inputs: Sequence[Value],
    tensors: Sequence[Tensor],
    optional: dict[Value, int],
    beneath: Beneath,
    frozen: Container[Value],
) -> None:
    """Hold the inputs that the rule will read, and every constant of an operation that carries gradients.

    Args:
        recording: holds them.
        known: the facts of the operation.
        values: its arguments.
        inputs: the values among them.
        tensors: their tensors.
        optional: values that were kept for speed alone; what a rule reads is no longer among them.
        beneath: what was seen beneath autograd.
        frozen: constants in memory that is given back after the forward; a pass makes them again.
    """
    rule = known.rule
    wanted: Container[Value] = ()
    if known.reads and rule is not None and (not recording.replays or known.random):
        wanted = reads(rule, values)
    overwritten = [values[i] for i in known.written] if known.written else ()
    if wanted and optional:
        for value in wanted:
            optional.pop(value, None)
    for value, tensor in zip(inputs, tensors, strict=True):
        if value.data is None and (value in wanted if value.needs_grad else value not in frozen):
            value.data = tensor.detach().clone() if value in overwritten else tensor
            value.version = -1 if value in overwritten else version_of(tensor)
            recording.log.held += tensor.numel() * tensor.element_size()
        elif value in overwritten and value in wanted and beneath.is_held(value, tensor):
            value.data = tensor.detach().clone()
            value.version = -1
