"""Operations beneath autograd: seen without a gradient, until what came of them turns out to have one.

So runs the forward of a `torch.autograd.Function`, reentrant checkpointing among them, what TorchScript has compiled,
and what torch makes of an operation with a tangent of zeros. Each of these operations is written down and its tensors
are held, until an output with a gradient shows which of them lie between it and the parameters, or control is back
above autograd. No cotangent arrives at the tensors in between, so that second-order terms are carried to that output.
Whether the gradient is the derivative of these operations is proved with every pass (`curvestep.engine.passes.proof`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction

from curvestep.engine.data.geometry import version_of
from curvestep.engine.data.recording import Recording
from curvestep.engine.data.rule import Kind
from curvestep.engine.data.value import Node, Value
from curvestep.engine.recording.reads import reads
from curvestep.engine.rules.choice import UNDETACHED
from curvestep.engine.rules.table import RULES

_forward_mode: Callable[[], bool] = torch._C._is_fwd_grad_enabled


def is_beneath() -> bool:
    """Whether the forward of an autograd function runs: there forward-mode gradients are off too."""
    return not _forward_mode() and not torch.is_inference_mode_enabled()


@final
class Beneath:
    """What was seen beneath autograd since control was last above it."""

    __slots__ = ("_fresh", "held", "made", "revealed", "zeros")

    def __init__(self) -> None:
        self.made: dict[Value, tuple[Tensor, bool]] = {}  # and whether in the forward of a function
        self.held: dict[Value, tuple[Tensor, int]] = {}
        self.zeros: set[Value] = set()  # tangents of zeros, which have a gradient and yet are constants
        self._fresh: list[tuple[Value, Tensor]] = []  # what the last operation made, whose version is not final yet
        self.revealed: set[Value] = set()

    def hold(self, written: Sequence[Value], inputs: Sequence[Value], tensors: Sequence[Tensor]) -> None:
        """Hold the inputs of an operation that is about to run; what it overwrites, as a copy."""
        self._settle()
        for value, tensor in zip(inputs, tensors, strict=True):
            if value in written:
                self.held[value] = (tensor.detach().clone(), -1)
            elif value not in self.held:
                self.held[value] = (tensor, version_of(tensor))

    def add(self, tensors: Sequence[Any], values: Sequence[Value | None], beneath: bool) -> None:
        """Note what an operation made, and whether in the forward of a function."""
        for tensor, value in zip(tensors, values, strict=False):
            if value is not None:
                self.made[value] = (tensor, beneath)
                self._fresh.append((value, tensor))

    def _settle(self) -> None:
        for value, tensor in self._fresh:
            self.held[value] = (tensor, version_of(tensor))
        self._fresh.clear()

    def outputs(self) -> list[Tensor]:
        """What has got a gradient since it was made."""
        self._settle()
        return [tensor for tensor, beneath in self.made.values() if tensor.requires_grad and _leaves(tensor, beneath)]

    def of_function(self, *values: Value) -> bool:
        """Whether one of the values was made in the forward of a function."""
        return any(value in self.made and self.made[value][1] for value in values)

    def hides(self, value: Value) -> bool:
        """Whether a value was made of what shows no gradient."""
        return value in self.made and value.origin is not None and not value.origin.live

    def is_held(self, value: Value, tensor: Tensor) -> bool:
        """Whether the tape holds this very tensor, or holds the same under the name that it had inside."""
        return value.data is tensor or (value in self.revealed and not value.overwritten)

    def clear(self) -> None:
        """Control is above autograd again."""
        self._fresh.clear()
        self.made.clear()
        self.held.clear()

    def reveal(self, recording: Recording, value: Value, tensor: Tensor) -> Value | None:
        """Have the tape go through the operations that made a tensor which has a gradient after all.

        Returns:
            The value of what was handed out, apart from the one inside, which may have been read there too; None where
            no value with a gradient went in.
        """
        if tensor.is_nested:
            return None
        if tensor._is_zerotensor():
            self.zeros.add(value)
            return value
        if value not in self.made:
            return self._added_to_zero(value, tensor)
        self._settle()
        moving: set[Value] = set()
        chosen: list[Node] = []
        for node in self._stretch(recording, value, _is_of_function(tensor)):
            if node.rule is not None and node.rule.kind is Kind.CONSTANT and not node.rule.detaches:
                continue
            if any(v.needs_grad or v in moving for v in node.inputs):
                chosen.append(node)
                moving.update(v for v in node.outputs if v is not None and _is_continuous(v))
        if value not in moving and not value.needs_grad:
            return self._added_to_zero(value, tensor)
        for node in chosen:
            node.live = True
            if node.rule is not None and node.rule.detaches:
                node.op, node.rule = UNDETACHED, RULES[UNDETACHED]
            for output in node.outputs:
                if output in moving:
                    output.needs_grad = True
        self.revealed |= moving
        for node in chosen:
            self._keep(recording, node)
        if not _is_read(recording, value):
            if tensor.numel() == 1:
                self._fill(recording, value)
            return value
        return self._handed_out(recording, value, tensor)

    def _handed_out(self, recording: Recording, value: Value, tensor: Tensor) -> Value:
        node = Node(UNDETACHED, RULES[UNDETACHED], (value,), {}, (value,), (), True, False)
        out = Value(value.shape, value.dtype, node, 0)
        out.needs_grad, out.epoch = True, value.epoch
        if tensor.numel() == 1:
            out.data, out.version = tensor, version_of(tensor)
        node.outputs = (out,)
        recording.nodes.append(node)
        return out

    def _added_to_zero(self, value: Value, tensor: Tensor) -> Value | None:
        """The value of a constant that has a gradient since a tangent of zeros was added to it, else None."""
        node = value.origin
        made = node is not None and not node.live and not node.mutates
        if not made or not self.zeros or _is_of_function(tensor):
            return None
        self.zeros.add(value)
        return value

    def _stretch(self, recording: Recording, value: Value, of_function: bool) -> list[Node]:
        """The operations beneath autograd from which a value came, in order; those of a function stay inside it."""
        wanted, stretch = {value}, []
        for node in reversed(recording.nodes):
            found = [v for v in node.outputs if v in wanted]
            if not found:
                continue
            stretch.append(node)
            wanted.difference_update(found)
            inside = [v for v in node.inputs if v in self.made and (self.made[v][1] or not of_function)]
            wanted.update(v for v in inside if not v.needs_grad)
            if not wanted:
                break
        return stretch[::-1]

    def _keep(self, recording: Recording, node: Node) -> None:
        """Keep what the rule of an operation reads, and its constants."""
        rule = node.rule
        wanted: set[Value] = set()
        if rule is not None and not recording.replays:
            wanted = reads(rule, node.args)
        for value in node.inputs:
            if not value.needs_grad or value in wanted:
                self._fill(recording, value)
        random = torch.Tag.nondeterministic_seeded in getattr(node.op, "tags", ())
        if rule is not None and (not recording.replays or random):
            for i in rule.keep_outputs:
                output = node.outputs[i]
                if output is not None:
                    self._fill(recording, output)

    def _fill(self, recording: Recording, value: Value) -> None:
        if value.data is None and value in self.held:
            tensor, value.version = self.held[value]
            value.data = tensor
            recording.log.held += tensor.numel() * tensor.element_size()


def _is_read(recording: Recording, value: Value) -> bool:
    """Whether an operation beneath autograd has read a value: its cotangent is then not that of what was handed out."""
    for node in reversed(recording.nodes):
        if node is value.origin:
            return False
        if value in node.inputs:
            return True
    return True


def _is_of_function(tensor: Tensor) -> bool:
    return isinstance(tensor.grad_fn, BackwardCFunction)


def _is_continuous(value: Value) -> bool:
    return value.dtype.is_floating_point or value.dtype.is_complex


def lacks_gradient(value: Value) -> bool:
    """Whether a value has no gradient though what made it, above autograd, has a derivative."""
    node = value.origin
    if node is None or not node.live or node.mutates or not _is_continuous(value):
        return False
    return node.rule is None or node.rule.kind is not Kind.CONSTANT


def _leaves(tensor: Tensor, beneath: bool) -> bool:
    """Whether a tensor with a gradient has it from outside: in the forward of a function gradients may be enabled."""
    try:
        return not beneath or _is_of_function(tensor)
    except RuntimeError:  # a view made where gradients are off, whose base was handed out
        return False


def name_of(tensor: Tensor) -> str:
    """What gave a tensor its gradient."""
    made_by: Any = tensor.grad_fn
    return type(made_by).__name__.removesuffix("Backward") if isinstance(made_by, BackwardCFunction) else made_by.name()


def leaves_given(tensor: Tensor) -> list[Tensor]:
    """The parameters that what gave a tensor its gradient was given, whether or not an operation read them."""
    given = [getattr(node, "variable", None) for node, _ in tensor.grad_fn.next_functions]  # type: ignore[union-attr]
    return [t for t in given if isinstance(t, Tensor)]
