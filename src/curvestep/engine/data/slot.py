"""Where backward leaves cotangents, and what it says of itself while it runs."""

from __future__ import annotations

import torch
from torch import Tensor

from curvestep.engine.data.geometry import Geometry, regather


class BackwardLog:
    """What autograd told the tape during backward: which passes ran, which tensor was the root, what was kept."""

    __slots__ = ("changed", "gradients", "held", "root", "roots", "share", "slots", "tasks")

    def __init__(self, share: float | None = None) -> None:
        self.tasks: list[int] = []
        self.root: Slot | None = None
        self.roots = 0  # on how many tensors the last backward was called
        self.gradients: dict[int, Tensor] = {}  # id of a leaf → its gradient, where that has to be proved
        self.changed: list[str] = []  # what handed on another gradient than it was given
        self.share = share  # cotangents to keep, as a share of the bytes that the tape holds; None: all
        self.held = 0  # bytes of forward values that the tape holds
        self.slots: list[Slot] = []

    def begin(self, root: Slot) -> None:
        """Backward starts at `root`: choose the cut, now that the sizes of the forward are known.

        Cotangents are kept from the loss down to the first operation whose cotangent no longer fits; below the cut
        the sweep carries second-order terms up instead, for one product a layer more.
        """
        self.root = root
        if self.share is None:
            return
        room = self.share * self.held
        for slot in reversed(self.slots):
            if slot.scalar:
                continue
            room -= slot.nbytes
            slot.kept = room >= 0


class Slot:
    """Where a tensor hook leaves the cotangent of one value.

    The hook closes over the slot alone, never over the value or the tape: a hook that reaches its own tensor is a
    reference cycle through autograd's graph, which the garbage collector frees late.
    """

    __slots__ = ("cotangent", "geometry", "kept", "log", "nbytes", "scalar")

    def __init__(self, log: BackwardLog, tensor: Tensor, geometry: tuple[Geometry, Geometry] | None = None) -> None:
        self.cotangent: Tensor | None = None
        self.log = log
        self.geometry = geometry  # (of the base that carries the hook, of the view that was written)
        size = tensor.numel()
        self.nbytes = size * tensor.element_size()
        self.scalar = size == 1
        self.kept = True
        log.slots.append(self)

    def __call__(self, grad: Tensor | None) -> None:
        """Take the cotangent that autograd hands to the hook."""
        if grad is None or torch.is_grad_enabled():
            # undefined: this output does not matter to the root; enabled: a gradient inside the forward is being
            # recorded (create_graph=True), and its cotangents are not those of the loss
            return
        log = self.log
        task = torch._C._current_graph_task_id()
        if task not in log.tasks:
            log.tasks.append(task)
            if len(log.tasks) == 1:
                log.begin(self)
        if not self.kept:
            return
        if self.geometry is not None:
            grad = regather(grad, *self.geometry)
        self.cotangent = grad
