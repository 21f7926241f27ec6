"""The gradients as a backward leaves them, noted at its end, so that what happens to them before the step is seen."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, final

from torch import Tensor

from curvestep._shards import any_sharded
from curvestep.engine import begin_watching, end_watching
from curvestep.optim._proof import Left, Versions, norms_of, versions_of
from curvestep.optim._recordings import Pending


@final
class Watch:
    """A block with a backward in it, after which `pending.left` are the gradients as the backward left them.

    A clip in the same block is seen.

    Args:
        pending: Where they are noted.
        parameters: Whose gradients.
        before: What tells whether a backward has written them.
        is_first: Whether the gradients that there are before belong to no recording.
        at_end: Whether they are noted at the end of the block: what several processes write after the backward may be
            their average.
    """

    __slots__ = ("_at_end", "_before", "_former", "_is_first", "_parameters", "_pending", "_ran", "_thread")

    def __init__(
        self, pending: Pending, parameters: list[Tensor], before: Versions, *, is_first: bool, at_end: bool
    ) -> None:
        self._pending = pending
        self._parameters = parameters
        self._before = before
        self._is_first = is_first
        self._ran = False
        self._former: list[Tensor] = []
        self._thread = threading.get_ident()
        self._at_end = at_end

    def __enter__(self) -> None:
        if not self._at_end:
            begin_watching(self)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if not self._at_end:
            end_watching(self)
        if kind is None and not self._ran:
            self._note()

    def begin_backward(self, roots: Sequence[Any]) -> bool:
        """Look at what there is before a backward of this thread."""
        del roots
        if threading.get_ident() != self._thread:
            return False
        self._before = versions_of(self._parameters)
        if self._is_first and not self._ran and any(self._before):
            self._former = norms_of(self._parameters)
        return True

    def end_backward(self, returned: Any) -> None:
        """Note what it has left, unless the gradients were handed out."""
        if all([gradient is None for gradient in returned or ()]):
            self._note()

    def _note(self) -> None:
        now = versions_of(self._parameters)
        # Shards get their gradients with the last backward; else the loss was that of other parameters.
        if now != self._before or (any(now) and any_sharded([p for p in self._parameters if p.grad is not None])):
            self._ran, self._before = True, now
            self._pending.left = Left.by_backward(self._parameters, self._former)
