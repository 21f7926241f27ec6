"""What turns a graph into something that runs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule

Compiled = Callable[..., Sequence[Tensor]]
#: A name of `torch.compile`, or a function of a graph and example inputs.
Backend = str | Callable[[GraphModule, list[Tensor]], Compiled]


def compile_graph(
    graph: GraphModule, inputs: list[Tensor], backend: Backend, options: dict[str, Any] | None
) -> Compiled:
    """Compile a graph for inputs of these shapes."""
    with torch.no_grad(), warnings.catch_warnings():
        # Warnings of torch about its own code while it compiles must not end the program under -W error.
        warnings.simplefilter("default")
        for kind in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
            warnings.simplefilter("ignore", kind)
        if backend == "eager":
            return graph
        if backend == "inductor":
            from torch._inductor import compile as inductor

            # On the CPU Inductor would lay out the outputs of convolutions with the channels last, and the sums over
            # all of a sample, which a pass makes at every layer, would read them across.
            layout = {"layout_optimization": False} if all(t.device.type == "cpu" for t in inputs) else {}
            # Straight to Inductor: torch.compile would trace the graph once more, and guard what is guarded here.
            compiled: Any = inductor(graph, list(inputs), options={**layout, **(options or {})})
            return compiled
        if isinstance(backend, str):
            from torch._dynamo.backends.registry import lookup_backend

            backend = lookup_backend(backend)  # type: ignore[assignment]
        assert callable(backend)
        return backend(graph, list(inputs))
