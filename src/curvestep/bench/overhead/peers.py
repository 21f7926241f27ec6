"""Other ways to dᵀ∇²J d along the gradient: double backward, forward over reverse, and other libraries' products.

Each multiplies the Hessian (or its Gauss-Newton form) with a direction d, by default the gradient, which it computes
too. A step is that, the step size |⟨∇J, d⟩| / |dᵀ∇²J d| on the host, and the update. None splits the curvature over the
samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Protocol, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from curvestep.bench.measure import cross_entropy
from curvestep.bench.overhead.prepared import Measured, NotApplicable, Prepared
from curvestep.bench.overhead.subjects import Subject, differentiable_kernels

# Longest step: the size of a step is nothing that a step costs, and the next one must not leave where it began by far.
_LONGEST = 1e-4


class Product(Protocol):
    """The product of a matrix with a direction."""

    def __call__(self, along: Sequence[Tensor] | None = None) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """The direction, the gradient where none is given, and its product."""
        ...


def prepare(subject: Subject, name: str) -> Prepared:
    """A step with the product of this name.

    Args:
        subject: the network.
        name: of a function of this module.

    Returns:
        The step.
    """
    products: dict[str, Callable[[Subject], Product]] = {
        "double_backward": double_backward,
        "jvp_of_grad": jvp_of_grad,
        "curvlinops": curvlinops,
        "backpack_ggn": backpack_ggn,
    }
    multiply = products[name](subject)

    def step() -> None:
        direction, product = multiply()
        _update(subject.parameters, direction, product)

    def curvature(direction: Sequence[Tensor]) -> Measured:
        _, product = multiply(direction)
        return Measured(float(_inner(direction, product)))

    return Prepared(step, curvature=curvature)


def double_backward(subject: Subject) -> Product:
    """Autograd twice, as a user writes it."""
    parameters = subject.parameters

    def multiply(along: Sequence[Tensor] | None = None) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        with differentiable_kernels(subject):
            gradients = torch.autograd.grad(subject.loss(), parameters, create_graph=True)
            direction = [gradient.detach() for gradient in gradients] if along is None else along
            return direction, torch.autograd.grad(gradients, parameters, grad_outputs=direction)

    return multiply


def jvp_of_grad(subject: Subject) -> Product:
    """The gradient, then forward mode over reverse mode along it; nothing can be reused of the first."""
    network, parameters = _without_running_statistics(subject), subject.parameters
    names = [name for name, _ in network.named_parameters()]
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}

    def loss(*values: Tensor) -> Tensor:
        state = {**dict(zip(names, values, strict=True)), **buffers}
        return cross_entropy(torch.func.functional_call(network, state, (subject.inputs,)), subject.targets)

    gradient_of = torch.func.grad(loss, argnums=tuple(range(len(names))))

    def multiply(along: Sequence[Tensor] | None = None) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        with differentiable_kernels(subject):
            direction = torch.autograd.grad(subject.loss(), parameters) if along is None else tuple(along)
            values = tuple(p.detach() for p in parameters)
            return direction, torch.func.jvp(gradient_of, values, direction)[1]

    return multiply


@final
class _Rows(nn.Module):
    """Logits as rows."""

    def forward(self, logits: Tensor) -> Tensor:
        """(…, classes) to (rows, classes)."""
        return logits.flatten(0, -2)


def curvlinops(subject: Subject) -> Product:
    """The Hessian of the batch as curvlinops' linear operator, made once."""
    library = _optional("curvlinops")
    parameters = subject.parameters
    with differentiable_kernels(subject):
        hessian = library.HessianLinearOperator(
            nn.Sequential(_without_running_statistics(subject), _Rows()),
            nn.CrossEntropyLoss(),
            parameters,
            [(subject.inputs, subject.targets.flatten())],
            check_deterministic=False,
        )

    def multiply(along: Sequence[Tensor] | None = None) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        with differentiable_kernels(subject):
            direction = torch.autograd.grad(subject.loss(), parameters) if along is None else along
            return direction, hessian @ list(direction)

    return multiply


def backpack_ggn(subject: Subject) -> Product:
    """The Gauss-Newton product of BackPACK's Hessian-free tools, on the graph of the gradient."""
    product_of = _optional("backpack.hessianfree.ggnvp", "backpack").ggn_vector_product
    parameters = subject.parameters

    def multiply(along: Sequence[Tensor] | None = None) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        with differentiable_kernels(subject):
            logits = subject.network(subject.inputs).flatten(0, -2)
            loss = F.cross_entropy(logits, subject.targets.flatten())
            gradients = torch.autograd.grad(loss, parameters, create_graph=True)
            direction = [gradient.detach() for gradient in gradients] if along is None else along
            return direction, product_of(loss, logits, subject.network, list(direction))

    return multiply


def _without_running_statistics(subject: Subject) -> nn.Module:
    """The network, its batch normalisation no longer counting: transforms refuse what is written in place."""
    return torch.func.replace_all_batch_norm_modules_(subject.network)


def _optional(module: str, name: str | None = None) -> Any:
    """A library that need not be there."""
    try:
        return import_module(module)
    except ImportError:
        raise NotApplicable(f'{name or module} is not installed; pip install "curvestep[peers]" has it') from None


def _inner(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    """⟨left, right⟩."""
    return torch.stack([torch.sum(a * b) for a, b in zip(left, right, strict=True)]).sum()


def _update(parameters: Sequence[Tensor], direction: Sequence[Tensor], products: Sequence[Tensor]) -> None:
    """θ ← θ − τ d with τ from slope and curvature, which go to the host as they do in every measured step."""
    with torch.no_grad():
        numbers = torch.stack([_inner(direction, direction), _inner(direction, products)]).tolist()
        step_size = min(abs(numbers[0]) / max(abs(numbers[1]), 1e-12), _LONGEST)
        torch._foreach_add_(list(parameters), list(direction), alpha=-step_size)
