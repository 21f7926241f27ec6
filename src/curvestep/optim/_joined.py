"""One recording that several optimizers join one after the other, each before the forward of its own module."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import final

from torch.amp.grad_scaler import GradScaler

from curvestep.engine import Tape
from curvestep.optim._proof import Left
from curvestep.optim._recorded import AbstractRecordedOptimizer


@final
class Joined:
    """The blocks of the optimizers that measure one loss: opened one after the other, closed together.

    A loss has one backward. An optimizer whose parameters it gives no gradient (a generator's, while the discriminator
    is trained) has joined the recording of another loss, which is dropped. Called, it closes all blocks; again, it does
    nothing.
    """

    __slots__ = ("_blocks", "_members")

    def __init__(self) -> None:
        self._blocks = ExitStack()
        self._members: dict[AbstractRecordedOptimizer, tuple[Tape, Left | None]] = {}  # what was left them before

    def __contains__(self, optimizer: AbstractRecordedOptimizer) -> bool:
        return optimizer in self._members

    def enter(self, optimizer: AbstractRecordedOptimizer, batch_size: int | None, scaler: GradScaler | None) -> None:
        """Open the block of one more optimizer; where it is refused, all are closed as by the same exception."""
        try:
            tape = self._blocks.enter_context(optimizer.record(batch_size, scaler=scaler))
        except BaseException:
            self._members.clear()
            self._blocks.__exit__(*sys.exc_info())
            raise
        optimizer._pending.dropped = False
        self._members[optimizer] = tape, optimizer._pending.left

    def __call__(self) -> None:
        members, self._members = self._members, {}
        self._blocks.close()
        if len(members) > 1:
            others = {o: tape for o, (tape, left) in members.items() if o._pending.left is left}
            if len(others) < len(members):  # a backward has left gradients, and not handed them out
                for optimizer, tape in others.items():
                    optimizer._pending.drop(tape)
