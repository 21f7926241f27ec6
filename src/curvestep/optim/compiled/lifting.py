"""Tensors that a function closes over become inputs of the graph that is traced from it."""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import get_proxy_mode, track_tensor_tree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from curvestep.optim.compiled.guards import require_plain
from curvestep.optim.compiled.refusal import NotCompiled

aten = torch.ops.aten
_NEW = frozenset({aten.lift_fresh.default, aten.lift.default, aten.lift_fresh_copy.default})  # of `torch.tensor(2.0)`


@final
class Lifting(TorchDispatchMode):
    """Replace every real tensor by a fake one that is an input, above the modes of `make_fx`.

    Otherwise `make_fx` keeps such a tensor as a constant, and executes operations that read nothing else: tracing would
    increment a counter and draw a random number, and a number read off a tensor would be a constant of the graph.

    Attributes:
        captured: the tensors, in the order of their inputs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.captured: list[Tensor] = []
        self._fakes: dict[int, Tensor] = {}
        self._written: set[int] = set()
        self._after = False

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Let torch leave `__torch_dispatch__` unwrapped: nothing here is compiled.

        Returns:
            False.
        """
        return False

    def forward_done(self) -> None:
        """Refuse from here on to read what the forward has overwritten.

        The gradient and the pass along the direction need the former values. Autograd and a recording compare the
        version of the tensor, which a write into its fake does not increase.
        """
        self._after = True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation on stand-ins."""
        if func not in _NEW:
            written = (
                {i for i, a in enumerate(func._schema.arguments) if a.alias_info is not None and a.alias_info.is_write}
                if func._schema.is_mutable
                else frozenset()
            )
            for i in written:
                if i < len(args) and isinstance(args[i], Tensor) and not isinstance(args[i], FakeTensor):
                    self._written.add(id(args[i]))
            args, kwargs = tree_map_only(Tensor, self._stand_in, (args, kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _stand_in(self, tensor: Tensor) -> Tensor:
        """Return the fake tensor of a real one."""
        if isinstance(tensor, FakeTensor):
            return tensor
        if self._after and id(tensor) in self._written:
            raise NotCompiled(
                f"the function overwrites a tensor of shape {tuple(tensor.shape)} that the gradient or the curvature "
                "needs as it was before"
            )
        known = self._fakes.get(id(tensor))
        if known is None:
            require_plain(tensor, "a tensor that the function closes over")
            proxies, fakes = get_proxy_mode(), torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.FAKE)
            assert proxies is not None and isinstance(fakes, FakeTensorMode)
            known = self._fakes[id(tensor)] = fakes.from_tensor(tensor)
            proxy = proxies.tracer.create_proxy("placeholder", f"captured_{len(self.captured)}", (), {})
            track_tensor_tree(known, proxy, constant=None, tracer=proxies.tracer)
            self.captured.append(tensor)  # which also keeps its id its own
        return known


def inputs_first(graph: GraphModule) -> None:
    """Move the inputs that were found on the way to the front, and leave out what nothing reads."""
    nodes = graph.graph
    anchor = None
    for node in [node for node in nodes.nodes if node.op == "placeholder"]:
        first = next(iter(nodes.nodes))
        if anchor is not None:
            anchor.append(node)
        elif first is not node:
            first.prepend(node)
        anchor = node
    nodes.eliminate_dead_code()
    nodes.lint()
    graph.recompile()
