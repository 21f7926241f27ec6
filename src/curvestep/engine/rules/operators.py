"""The operators of the torch that is installed, looked up leniently: a version may lack some that have a rule."""

from __future__ import annotations

from typing import Any, NoReturn, final

import torch

from curvestep._errors import MissingRuleError


@final
class Absent:
    """An operator that this torch does not have."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *args: object, **options: object) -> NoReturn:
        """Refuse: a rule needs an operator that is not there."""
        raise MissingRuleError(f"The operator {self.name} was needed, but torch {torch.__version__} does not have it.")

    def __str__(self) -> str:
        return self.name


@final
class Packet:
    """One operator of `aten` with its overloads, each an `Absent` where this torch lacks it."""

    def __init__(self, name: str) -> None:
        self._name = f"aten.{name}"
        self._packet: Any = getattr(torch.ops.aten, name, None)

    def __getattr__(self, overload: str) -> Any:
        if overload.startswith("__"):
            raise AttributeError(overload)
        found = getattr(self._packet, overload, None)
        found = Absent(f"{self._name}.{overload}") if found is None else found
        setattr(self, overload, found)  # the next look-up is one of an attribute
        return found

    def overloads(self) -> list[str]:
        """The names of its overloads."""
        return [] if self._packet is None else self._packet.overloads()


@final
class Operators:
    """`torch.ops.aten`, in which every name is found: as a `Packet`."""

    def __getattr__(self, name: str) -> Packet:
        if name.startswith("__"):
            raise AttributeError(name)
        packet = Packet(name)
        setattr(self, name, packet)
        return packet


aten = Operators()

_FUNCTIONAL: dict[Any, Any] = {}


def functional_twin(op: Any) -> Any:
    """`aten.mul.Tensor` for `aten.mul_.Tensor`; None where there is none."""
    if op not in _FUNCTIONAL:
        twin = None
        namespace, _, name = op._schema.name.partition("::")
        if name.endswith("_") and not name.endswith("__"):
            packet: Any = getattr(getattr(torch.ops, namespace), name[:-1], None)
            twin = getattr(packet, op._overloadname, None)
            if twin is not None and _signature(twin) != _signature(op):
                # pow_.Scalar has a scalar exponent, pow.Scalar a scalar base: the name alone does not make a twin
                alike = [getattr(packet, o) for o in packet.overloads()]
                twin = next((o for o in alike if _signature(o) == _signature(op)), None)
        _FUNCTIONAL[op] = twin
    return _FUNCTIONAL[op]


def _signature(op: Any) -> list[str]:
    return [str(argument.type) for argument in op._schema.arguments]


def tensor_positions(op: Any) -> tuple[int, ...]:
    """Positions of the arguments of an operation that are tensors or lists of tensors."""
    if not hasattr(op, "_schema"):  # an operation of the tape
        return ()
    return tuple(i for i, a in enumerate(op._schema.arguments) if "Tensor" in str(a.type) and not a.kwarg_only)
