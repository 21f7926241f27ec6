"""The recorder: a dispatch mode that writes every operation of a forward pass down."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from torch import Tensor
from torch._C import _len_torch_dispatch_stack as _watchers  # pyright: ignore[reportAttributeAccessIssue]
from torch.nn.parameter import is_lazy as is_uninitialized
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes, _get_current_dispatch_mode_stack

from curvestep._shards import PLAIN, is_sharded
from curvestep.engine.data.geometry import is_lazy, shape_of, storage_of, version_of
from curvestep.engine.data.recording import Recording
from curvestep.engine.data.rule import Rule
from curvestep.engine.data.value import Node, Value
from curvestep.engine.recording import leaves
from curvestep.engine.recording.beneath import Beneath, is_beneath, lacks_gradient, leaves_given, name_of
from curvestep.engine.recording.facts import FACTS, OpFacts, facts
from curvestep.engine.recording.hooks import Gate, gate_of, note_gradients, slot_of
from curvestep.engine.recording.keeping import keep
from curvestep.engine.recording.opaque import is_transparent, opaque
from curvestep.engine.recording.reads import reads_output
from curvestep.engine.recording.shards import Shards, may_be_gathered
from curvestep.engine.recording.writes import Writes, put_in

_graph_task, _forward_mode = torch._C._current_graph_task_id, torch._C._is_fwd_grad_enabled


@final
class Recorder(TorchDispatchMode):
    """Writes each dispatched operation to the tape and puts a hook on each output whose cotangent a rule needs."""

    def __init__(self, recording: Recording) -> None:
        super().__init__()
        self.after_backward: Callable[[], None] | None = None  # called once a backward pass has ended
        self.recording = recording
        self._known: dict[int, tuple[Any, Value]] = {}  # id of a tensor → weak reference, its present value
        self._written_out: set[Value] = set()
        self._pending: list[tuple[Tensor, Value, bool, bool, bool]] = []
        # Asked of a view, autograd may make its gradient anew, by operations that are no part of the forward.
        self._reading = False
        # Values kept for speed alone, with their storage: some views share no version counter (`unsafe_chunk`), so a
        # write through one of them is noticed here or never.
        self._optional: dict[Value, int] = {}
        self._gates: dict[Any, Gate] = {}
        self._shards = Shards()
        self._noting: list[Any] = []  # hooks on leaves for the time of a backward
        self._beneath = Beneath()
        self._writes = Writes()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Let torch leave `__torch_dispatch__` unwrapped.

        The wrapper imports torch's compiler, which takes seconds in the first recording, and costs more an operation
        than the recorder itself; nothing here is ever compiled.

        Returns:
            False.
        """
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and, in the forward, write it down."""
        kwargs = kwargs or {}
        # Backward's own operations are not part of the forward, but those of a gradient that is itself differentiated
        # (create_graph=True, as in physics-informed nets) are: autograd runs them with gradients enabled.
        beneath = not _forward_mode() and is_beneath()
        if _graph_task() != -1 and not torch.is_grad_enabled() and not beneath:
            return func(*args, **kwargs)
        known = FACTS.get(func) or facts(func)
        if self._reading or known.marks:
            return func(*args, **kwargs)
        if self._pending:
            self._settle()
        inputs: list[Value] = []
        tensors: list[Tensor] = []
        values = tuple([self._take(a, inputs, tensors) for a in args])
        keyed = {k: self._take(v, inputs, tensors) for k, v in kwargs.items()} if kwargs else {}
        live = new = False
        for value in inputs:
            live = live or value.needs_grad
            new = new or (value.data is None and not value.needs_grad)
        if self._beneath.made and not beneath and live and not known.detaches:
            self._surface()
        hidden = beneath or (live and known.detaches) or bool(self._beneath.made)
        if hidden:
            self._beneath.hold([values[i] for i in known.written] if beneath else (), inputs, tensors)
        keeps = live and not beneath and (new or known.reads)
        if keeps or self.recording.owners is not None:  # whose indices say which rows they pick
            keep(self.recording, known, values, inputs, tensors, self._optional, self._beneath, self._shards.frozen)
        out = func(*args, **kwargs)
        mutates = bool(known.written)
        number = out if isinstance(out, (int, float, complex)) else None
        node = Node(func, known.rule, values, keyed, tuple(inputs), (), live, mutates, number)
        outs = out if isinstance(out, (tuple, list)) else (out,)
        lazy = known.writes_out and live and (tensors[0].is_conj() or tensors[0].is_neg())
        curved = live and not self.recording.replays and known.curved is not False
        if curved and known.rule is not None and known.curved is None:
            curved = known.rule.curved([isinstance(v, Value) and v.needs_grad for v in values])
        holds = not self.recording.replays or known.random
        give = self._hide if beneath else self._give
        if len(outs) == 1:
            node.outputs = (give(outs[0], node, 0, curved, mutates, holds),)
        else:
            node.outputs = tuple([give(t, node, i, curved, mutates, holds) for i, t in enumerate(outs)])
        if hidden:
            self._beneath.add(outs, node.outputs, beneath)
        if lazy and node.outputs[0] is not None:  # a lazy conjugate is written out below autograd, which marks nothing
            self._written_out.add(node.outputs[0])
        if mutates:
            self._note_writes(node, known, args, values)
        if self._shards.frozen and not live:
            self._shards.follow(node)
        self.recording.nodes.append(node)
        return out

    def run_as_one(self, op: Any, rule: Rule, args: tuple[Any, ...]) -> Any:
        """Run a function whose inner operations are not recorded, and write it down as a single operation."""
        if self._pending:
            self._settle()
        inputs: list[Value] = []
        tensors: list[Tensor] = []
        values = tuple([self._take(a, inputs, tensors) for a in args])
        live = any([v.needs_grad for v in inputs])
        if live:
            known = OpFacts(rule, ())
            keep(self.recording, known, values, inputs, tensors, self._optional, self._beneath, self._shards.frozen)
        with _disable_current_modes():
            out = op(*args)
        node = Node(op, rule, values, {}, tuple(inputs), (), live, False)
        outs = out if isinstance(out, tuple) else (out,)
        holds = not self.recording.replays
        node.outputs = tuple([self._give(t, node, i, live and holds, False, holds) for i, t in enumerate(outs)])
        self.recording.nodes.append(node)
        return out

    # -- tensors to values --------------------------------------------------------------------------------------

    def _take(self, arg: Any, inputs: list[Value], tensors: list[Tensor]) -> Any:
        """Replace tensors by their present values, in nested lists too."""
        if isinstance(arg, Tensor):
            value = self._value(arg)
            inputs.append(value)
            tensors.append(arg)
            return value
        if isinstance(arg, (list, tuple)) and any([isinstance(a, Tensor) for a in arg]):
            return [self._take(a, inputs, tensors) for a in arg]
        return arg

    def _value(self, tensor: Tensor) -> Value:
        """The present value of a tensor: a leaf where it was never seen."""
        entry = self._known.get(id(tensor))
        if entry is not None and entry[0]() is tensor:
            value = entry[1]
            if value.place and tensor.data_ptr() != value.place:
                value = self._start_again(tensor)
            if self._writes.of:
                value = self._refresh(tensor, value)
            if value.needs_grad != tensor.requires_grad and not is_beneath():
                value = self._under_another_gradient(tensor, value)
            return value
        if type(tensor) not in PLAIN and is_uninitialized(
            tensor
        ):  # of a lazy module, which is about to give it a shape
            return Value((), tensor.dtype, None, 0)
        value = self._leaf(tensor)
        if value.needs_grad and not tensor.is_leaf:
            self.recording.opaque.append(leaves.foreign(value))
        return value

    def _leaf(self, tensor: Tensor) -> Value:
        """What a tensor is from here on: a leaf with the data that it has now."""
        value = self._shards.leaf(self.recording, tensor) if may_be_gathered(tensor) else None
        value = value or leaves.new_leaf(self.recording, tensor)
        if self._writes.of:
            value.epoch = self._writes.count(tensor)
        self._known[id(tensor)] = (lambda: tensor, value)  # strong: its id stays its own
        return value

    def _start_again(self, tensor: Tensor) -> Value:
        """Make a leaf of what has become one: detached and made to require a gradient, or written past autograd."""
        # A use of it before has the old values, and a direction cannot move both: it must not lie on the way.
        entry = self.recording.leaves.get(id(tensor))
        if entry is not None and entry[1].needs_grad:
            self.recording.opaque.append(leaves.overwritten(entry[1]))
        return self._leaf(tensor)

    def _under_another_gradient(self, tensor: Tensor, value: Value) -> Value:
        """The value of a tensor that began or ceased to require a gradient since it was last read."""
        if not tensor.requires_grad and value in self._beneath.revealed:  # a function says that it has no derivative
            return self._leaf(tensor)
        if not tensor.requires_grad:  # written out of a lazy view; or a leaf that was frozen, a constant to autograd
            return value if value.origin is not None else self._leaf(tensor)
        if tensor.is_leaf:
            entry = self.recording.leaves.get(id(tensor))
            if entry is None or not entry[1].needs_grad or entry[1].version != tensor._version:
                return self._start_again(tensor)
            found: Value | None = entry[1]
        elif value in self._beneath.zeros:
            return value
        else:
            found = leaves.unpacked(tensor, value)
        if found is None:
            return self._note_opaque(tensor, value)
        self._known[id(tensor)] = (weakref.ref(tensor), found)
        return found

    def _give(
        self, tensor: Any, node: Node, index: int, curved: bool, mutates: bool, holds: bool = True
    ) -> Value | None:
        """Make the value of an output; `holds`: its data, where the rule reads it."""
        if not isinstance(tensor, Tensor):
            return None
        value = Value(shape_of(tensor), tensor.dtype, node, index)
        if self._writes.of:
            value.epoch = self._writes.count(tensor)
        self._known[id(tensor)] = (weakref.ref(tensor), value)
        # What is made without gradients carries none, unless it is in the forward of a torch.autograd.Function.
        blind = not torch.is_grad_enabled()
        if node.live or mutates or blind:
            rule = node.rule if node.live and holds else None
            keep = rule is not None and bool(rule.keep_outputs or rule.may_read)
            keep = keep and rule is not None and reads_output(self.recording, node, rule, index, value)
            size = tensor.numel()
            scalar = size == 1
            if keep or scalar:
                value.data = tensor
                if rule is not None and not scalar and index not in rule.keep_outputs:
                    self._optional[value] = storage_of(tensor)
                self.recording.log.held += size * tensor.element_size()  # nbytes is refused by sparse tensors
            self._pending.append((tensor, value, curved or scalar, mutates, blind))
        return value

    def _hide(self, tensor: Any, node: Node, index: int, *_: bool) -> Value | None:
        """Make the value of an output beneath autograd, which has no gradient as yet."""
        if not isinstance(tensor, Tensor):
            return None
        value = Value(shape_of(tensor), tensor.dtype, node, index)
        value.epoch = self._writes.count(tensor)
        self._known[id(tensor)] = (weakref.ref(tensor), value)
        return value

    def _surface(self) -> None:
        """Control is above autograd again: find what has got a gradient meanwhile, and let go of the rest."""
        for tensor in self._beneath.outputs():
            self._value(tensor)
        self._beneath.clear()

    def _settle(self) -> None:
        """Read off the last outputs what autograd has added to them since, and hook those that need it."""
        pending, self._pending = self._pending, []
        self._reading = True
        try:
            for tensor, value, hooked, mutated, blind in pending:
                live = tensor.requires_grad
                # A view that was written is no leaf; to ask it would wait for ever where autograd is just making its
                # gradient anew, by operations that are seen here.
                if live and not (mutated and tensor._is_view()) and tensor.is_leaf:
                    self._start_again(tensor)
                    continue
                value.needs_grad = live or value in self._written_out
                if live and self._beneath.made and self._beneath.hides(value):
                    value.needs_grad = False  # TorchScript's, or of an operation with a tangent of zeros
                    self._value(tensor)
                    continue
                if not live and not blind and lacks_gradient(value):
                    self._beneath.add((tensor,), (value,), False)
                if blind and value.needs_grad:
                    self._note_opaque(tensor, value)
                if value.data is not None:
                    value.version = version_of(tensor)
                if hooked and live:
                    value.slot = slot_of(tensor, self.recording.log, mutated)
        finally:
            self._reading = False

    def _note_opaque(self, tensor: Tensor, value: Value) -> Value:
        """The value of an output whose gradient is not of the operation that made it: revealed, or else remembered."""
        out = self._beneath.reveal(self.recording, value, tensor)
        if out is not None:
            self._known[id(tensor)] = (weakref.ref(tensor), out)
            if out.needs_grad and (out.data is not None or not self.recording.replays):
                out.slot = slot_of(tensor, self.recording.log, value.origin is not None and value.origin.mutates)
            if is_transparent(tensor):
                gate_of(tensor, self._gates, self.recording.log).watch(tensor)
            else:
                self.recording.revealed[out] = name_of(tensor)
                for leaf in leaves_given(tensor):
                    self._value(leaf)
            return out
        found = opaque(tensor, value)
        if found is not None:
            value.needs_grad = True
            self.recording.opaque.append(found)
        return value

    # -- aliases --------------------------------------------------------------------------------------------------

    def _note_writes(self, node: Node, known: OpFacts, args: Any, values: tuple[Any, ...]) -> None:
        """Remember which storage an in-place operation wrote to, so that other views of it are refreshed."""
        for position, i in enumerate(known.written):
            tensor = args[i]
            if isinstance(tensor, (list, tuple)):  # torch._foreach_…_: under a mode torch leaves versions alone
                torch.autograd.graph.increment_version(tensor)
            if not isinstance(tensor, Tensor):
                continue
            for value in [v for v, storage in self._optional.items() if storage == storage_of(tensor)]:
                value.data = None
                del self._optional[value]
            output = node.outputs[position] if position < len(node.outputs) else None
            if output is not None:
                self._writes.add(tensor, output)

    def _refresh(self, tensor: Tensor, value: Value) -> Value:
        """The value of a tensor after writes through other views of its storage."""
        past = self._writes.since(tensor, value)
        if not past:
            return value
        if tensor.is_leaf and (tensor.requires_grad or is_sharded(value.data)):
            return self._start_again(tensor)
        for written, geometry, lazy in past:
            if written.dtype != value.dtype or lazy != is_lazy(tensor):
                value = self._leaf(tensor)
                if value.needs_grad:
                    self.recording.opaque.append(leaves.through_other_numbers(value))
                break
            hidden = is_beneath() or self._beneath.of_function(value, written)
            node, fresh = put_in(tensor, value, written, geometry, hidden)
            self.recording.nodes.append(node)
            if value.needs_grad and not written.needs_grad and fresh.needs_grad:
                self.recording.opaque.append(leaves.past_autograd(fresh))
            if hidden:
                self._beneath.add((tensor,), (fresh,), is_beneath())
            value = fresh
        value.epoch = self._writes.count(tensor)
        self._known[id(tensor)] = (weakref.ref(tensor), value)
        return value

    def finish(self) -> None:
        """Close the recording."""
        if self._pending:
            self._settle()
        if self._writes.of:
            self._writes.age(self.recording)
        self._known.clear()
        self._forget_hooks()
        self._beneath = Beneath()
        self._written_out.clear()
        self._writes.of.clear()
        self._optional.clear()
        self._gates.clear()

    def begin_backward(self, roots: Sequence[Any]) -> bool:
        """Read off what autograd has added to the tensors at which a backward starts; False: they are not of here."""
        known = [t for t in roots if isinstance(t, Tensor) and self._is_known(t)]
        if not known:
            return False
        if self._pending:
            self._settle()
        for tensor in known:
            self._value(tensor)
        self._beneath.clear()
        self.recording.log.roots = len(roots)
        if self.recording.revealed or (self.recording.proves and known[0].device.type == "cpu"):
            self._noting = note_gradients(self.recording)
        return True

    def end_backward(self, returned: Any) -> None:
        """A backward has ended and given these gradients: let none of them share memory with what is kept."""
        leaves.part_from_gradients(self.recording, returned or ())
        self._forget_hooks()

    def _forget_hooks(self) -> None:
        for handle in self._noting:
            handle.remove()
        self._noting.clear()

    def _is_known(self, tensor: Tensor) -> bool:
        return id(tensor) in self._known and self._known[id(tensor)][0]() is tensor


def open_recorder() -> Recorder | None:
    """The recorder of the recording that is open in this thread."""
    if _watchers() == 0:
        return None
    return next((mode for mode in _get_current_dispatch_mode_stack() if isinstance(mode, Recorder)), None)
