"""One recorded forward and what its backward left: everything that a pass reads."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import final

from torch import Tensor

from curvestep._errors import RecordingError
from curvestep.engine.data.samples import Owners
from curvestep.engine.data.slot import BackwardLog
from curvestep.engine.data.value import Node, Value


@final
class Products(enum.Enum):
    """How many products a bilinear operation takes in a pass over the tape."""

    AUTO = "two where they cost less than three and the dtype has the digits for it, else three"
    NAIVE = "three: each term is a product of its own"
    POLARISED = "two, wherever the value of the operation is at hand"


@final
@dataclass(frozen=True, slots=True)
class Opaque:
    """A value whose derivative does not come from recorded operations.

    Attributes:
        value: the output.
        name: the function's name, or the operation's.
        leaf: a tensor that requires a gradient from which it was computed, None where none was found.
        why: the sentence that says what to do.
        sentence: the whole refusal, where it is not that a rule is missing.
    """

    value: Value
    name: str
    leaf: Tensor | None
    why: str
    sentence: str = ""


@final
class Recording:
    """What a recorder wrote down.

    Attributes:
        nodes: the operations, in the order in which they ran.
        leaves: what came from outside: id of the tensor → the tensor and its value; id of the value → the same where
            the tensor was read again under another gradient, or was written to.
        log: what autograd said during backward.
        revealed: values whose gradient came from what runs beneath autograd, with its name.
        opaque: values whose derivative does not come from recorded operations.
        products: how many products a pass takes.
        replays: whether values between the leaves and the loss are not held but computed again by a pass.
        spared: whether that is so because nobody who opened it measures on it.
        stated_batch_size: the number of samples, where the user stated it.
        proves: whether passes over the whole batch are compared with the gradient that backward left; on the host only,
            since elsewhere that would be waited for.
        owners: the sample of each row, where the user named them.
        stepped: ids of parameters that an optimizer has stepped since.
        holders: how many tapes are of it.
        waiting: tape of an optimizer that will measure → id of the optimizer and its parameters; what another one
            moves is kept until then. The key is the tape's id.
        parted: ids of parameters that have moved since, whose values at the time of the forward are kept.
        released: whether everything was dropped.
    """

    def __init__(
        self, batch_size: int | None = None, share: float | None = None, products: Products = Products.AUTO
    ) -> None:
        self.nodes: list[Node] = []
        self.leaves: dict[int, tuple[Tensor, Value]] = {}
        self.log = BackwardLog(share)
        self.revealed: dict[Value, str] = {}
        self.proves = True
        self.opaque: list[Opaque] = []
        self.stepped: set[int] = set()
        self.holders = 0
        self.waiting: dict[int, tuple[int, list[Tensor]]] = {}
        self.parted: set[int] = set()
        self.products = products
        self.replays = False
        self.spared = False
        self.stated_batch_size = batch_size
        self.owners: Owners | None = None
        self.released = False

    @property
    def rows(self) -> int | None:
        """How many rows data has: the stated number of samples, or what they own; None where neither was stated."""
        return self.stated_batch_size if self.owners is None else len(self.owners.numbers)

    def require_backward(self) -> None:
        """Refuse, in a sentence, unless backward ran exactly once within the recording."""
        if self.released:
            raise RecordingError(
                "A tape that still holds its recording was needed, but this one was released. "
                "Run the forward and loss.backward() again inside a new recording."
            )
        passes = len(self.log.tasks)
        if passes == 0:
            raise RecordingError(
                "One backward pass inside the recording was needed, but none ran (or it ran with create_graph=True, or "
                "the loss does not depend on a parameter). Call loss.backward() inside `with record():`, after the "
                "forward."
            )
        if passes > 1:
            raise RecordingError(
                f"One backward pass inside the recording was needed, but {passes} ran. "
                "Add the losses and call backward() once, or give each forward and backward a recording of its own: an "
                "optimizer's step() takes all recordings since the last step together."
            )
        if self.log.roots > 1:
            raise RecordingError(
                "backward() on one scalar was needed, but it ran on several tensors at once. Add the losses and call "
                "backward() on the sum."
            )

    @property
    def root(self) -> Value:
        """The scalar on which backward was called."""
        self.require_backward()
        for node in reversed(self.nodes):
            for value in node.outputs:
                if value is not None and value.slot is not None and value.slot is self.log.root:
                    if not value.slot.scalar:
                        raise RecordingError(
                            f"backward() on a scalar was needed, but it ran on a tensor of shape {value.shape}. "
                            "Reduce the loss to one number (mean or sum) inside `with record():`."
                        )
                    return value
        raise RecordingError(
            "The scalar on which backward was called was needed, but no operation inside the recording made it. "
            "Compute the loss inside `with record():`."
        )

    def computed_from(self, moving: set[Value]) -> set[Value]:
        """The leaves from which a pass computes everything that it needs: those that move, or all in a replay."""
        return {v for _, v in self.leaves.values() if v.needs_grad} if self.replays else moving

    def release(self) -> None:
        """Drop every tensor."""
        self.released = True
        for node in self.nodes:
            for value in node.outputs:
                if value is not None:
                    value.data = value.slot = None
            node.outputs = ()  # each of them knows its node: a cycle that the collector would have to find
        self.nodes.clear()
        self.leaves.clear()
        self.opaque.clear()
        self.revealed.clear()
        self.waiting.clear()
        self.log.root = None
        self.log.gradients.clear()
        self.log.slots.clear()
