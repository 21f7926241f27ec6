"""What a graph was traced for: everything that it holds as a constant and that may change between two steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import get_ident
from typing import Any, final

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.utils._pytree import TreeSpec, tree_flatten

from curvestep.optim.compiled.refusal import NotCompiled

_PLAIN = (int, float, bool, str, complex, type(None), torch.dtype, torch.device)


@final
@dataclass(frozen=True)
class Batch:
    """The arguments of one call, taken apart."""

    tensors: list[Tensor]  # what goes into the graph
    # everything else that the graph is traced for: how the arguments nest, plain values, shapes and strides
    key: tuple[Any, ...]
    _leaves: list[Any]
    _spec: TreeSpec | None

    @classmethod
    def of(cls, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Batch:
        """Take the arguments apart.

        Returns:
            Their tensors and the rest.

        Raises:
            NotCompiled: an argument is neither a tensor, a plain value nor a container of such.
        """
        if not kwargs and all([type(arg) is Tensor for arg in args]):  # the usual case, without a tree's cost
            leaves, spec = list(args), None
        else:
            leaves, spec = tree_flatten((args, kwargs))
        tensors: list[Tensor] = []
        parts: list[Any] = [spec]
        for leaf in leaves:
            if isinstance(leaf, Tensor):
                require_plain(leaf, "an argument")
                tensors.append(leaf)
                parts.append(facts(leaf))
            elif isinstance(leaf, _PLAIN):
                parts.append((type(leaf), leaf))
            else:
                raise NotCompiled(
                    f"an argument is a {type(leaf).__name__}, of which a graph cannot tell what it holds (give its "
                    "tensors, or tuples, lists and dictionaries of them)"
                )
        return cls(tensors, tuple(parts), leaves, spec)

    def filled(self, tensors: list[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments with other tensors in place of those of the call."""
        if self._spec is None:
            return tuple(tensors), {}
        given = iter(tensors)
        return self._spec.unflatten([next(given) if isinstance(leaf, Tensor) else leaf for leaf in self._leaves])


def facts(tensor: Tensor) -> tuple[Any, ...]:
    """Return the properties of a tensor that a graph relies on."""
    return tensor.shape, tensor.stride(), tensor.dtype, tensor.device, tensor.requires_grad


def require_plain(tensor: Tensor, what: str) -> None:
    """Refuse tensors that are not real ones in strided memory.

    Raises:
        NotCompiled: the tensor is of another kind.
    """
    if type(tensor) not in (Tensor, nn.Parameter, nn.Buffer):
        raise NotCompiled(f"{what} is a {type(tensor).__name__}, a kind of tensor with operations of its own")
    if tensor.layout is not torch.strided or tensor.is_complex():
        raise NotCompiled(f"{what} has layout {tensor.layout} and dtype {tensor.dtype}, and a dense real one is needed")


def autocast_key() -> tuple[Any, ...]:
    """Return the state of autocast on the CPU and on the accelerator."""
    devices = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
    return tuple(torch.get_autocast_dtype(d) if torch.is_autocast_enabled(d) else None for d in devices)


@final
@dataclass
class Seen:
    """The modules that a function called while it was traced, with their state before it.

    A graph holds their mode, train or eval, as a constant, and reads the tensors that they held then.
    """

    modes: dict[nn.Module, bool] = field(default_factory=dict)
    _held: dict[nn.Module, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = field(default_factory=dict)

    def note(self, module: nn.Module) -> None:
        """Take down a module that is about to run."""
        if module not in self.modes:
            self.modes[module] = module.training
            self._held[module] = (dict(module._parameters), dict(module._buffers), dict(vars(module)))

    def give_back(self) -> str | None:
        """Undo what tracing left in the modules; return the name of something that the function assigned to one."""
        found: str | None = None
        for module, kept in self._held.items():
            for now, before in zip((module._parameters, module._buffers, vars(module)), kept, strict=True):
                for name, value in list(now.items()):
                    if isinstance(value, FakeTensor):
                        found = found or f"{type(module).__name__}.{name}"
                        if name in before:
                            now[name] = before[name]
                        else:
                            del now[name]
        return found

    def places_of(self, tensors: list[Tensor]) -> list[tuple[dict[str, Any], str, Tensor]]:
        """Return where the modules hold these tensors, so that an exchange of one is noticed."""
        wanted = {id(tensor) for tensor in tensors}
        return [
            (place, name, tensor)
            for module in self.modes
            for place in (module._parameters, module._buffers)
            for name, tensor in place.items()
            if tensor is not None and id(tensor) in wanted
        ]


@contextmanager
def watching(seen: Seen) -> Iterator[None]:
    """Take down every module that this thread calls inside the block."""
    thread = get_ident()

    def note(module: nn.Module, inputs: Any) -> None:
        del inputs
        if get_ident() == thread:
            seen.note(module)

    handle = register_module_forward_pre_hook(note)
    try:
        yield
    finally:
        handle.remove()


@final
class Guards:
    """Whether a graph still fits the tensors that it reads and the modules that it was traced from."""

    def __init__(self, seen: Seen, captured: list[Tensor]) -> None:
        self._modes = tuple(seen.modes.items())
        self._places = tuple(seen.places_of(captured))
        self._facts = tuple((tensor, facts(tensor)) for tensor in captured)

    def hold(self) -> bool:
        """Whether nothing that the graph was traced for has changed."""
        return (
            all(module.training is mode for module, mode in self._modes)
            and all(place.get(name) is tensor for place, name, tensor in self._places)
            and all(facts(tensor) == known for tensor, known in self._facts)
        )


Function = Callable[..., Tensor]
