"""Other variants to dᵀ∇²J d along the gradient: double backward, forward over reverse, and other libraries' products.

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

from benchmarks.overhead.cases import Case, differentiable_kernels
from benchmarks.overhead.prepared import Measured, NotApplicable, Prepared
from curvestep.bench.measure import cross_entropy

# Longest step: the size of a step is nothing that a step costs, and the next one must not leave where it began by far.
_LONGEST = 1e-4


class Product(Protocol):
    """The product of a matrix with a direction."""

    def __call__(self, along: Sequence[Tensor] | None = None) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """The direction, the gradient where none is given, and its product."""
        ...


def prepare(case: Case, name: str) -> Prepared:
    """A step with the product of this name.

    Args:
        case: the network.
        name: of a function of this module.

    Returns:
        The step.
    """
    products: dict[str, Callable[[Case], Product]] = {
        "double_backward": double_backward,
        "jvp_of_grad": jvp_of_grad,
        "curvlinops": curvlinops,
        "backpack_ggn": backpack_ggn,
    }
    multiply = products[name](case)

    def step() -> None:
        direction, product = multiply()
        _update(case.parameters, direction, product)

    def curvature(direction: Sequence[Tensor]) -> Measured:
        _, product = multiply(direction)
        return Measured(float(_inner(direction, product)))

    return Prepared(step, curvature=curvature)


def double_backward(case: Case) -> Product:
    """Autograd twice, as a user writes it."""
    parameters = case.parameters

    def multiply(along: Sequence[Tensor] | None = None) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        with differentiable_kernels(case):
            gradients = torch.autograd.grad(case.loss(), parameters, create_graph=True)
            direction = [gradient.detach() for gradient in gradients] if along is None else along
            return direction, torch.autograd.grad(gradients, parameters, grad_outputs=direction)

    return multiply


def jvp_of_grad(case: Case) -> Product:
    """The gradient, then forward mode over reverse mode along it; nothing can be reused of the first."""
    network, parameters = _without_running_statistics(case), case.parameters
    names = [name for name, _ in network.named_parameters()]
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}

    def loss(*values: Tensor) -> Tensor:
        state = {**dict(zip(names, values, strict=True)), **buffers}
        return cross_entropy(torch.func.functional_call(network, state, (case.inputs,)), case.targets)

    gradient_of = torch.func.grad(loss, argnums=tuple(range(len(names))))

    def multiply(along: Sequence[Tensor] | None = None) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        with differentiable_kernels(case):
            direction = torch.autograd.grad(case.loss(), parameters) if along is None else tuple(along)
            values = tuple(p.detach() for p in parameters)
            return direction, torch.func.jvp(gradient_of, values, direction)[1]

    return multiply


@final
class _Rows(nn.Module):
    """Logits as rows."""

    def forward(self, logits: Tensor) -> Tensor:
        """(…, classes) to (rows, classes)."""
        return logits.flatten(0, -2)


def curvlinops(case: Case) -> Product:
    """The Hessian of the batch as curvlinops' linear operator, made once."""
    library = _optional("curvlinops")
    parameters = case.parameters
    with differentiable_kernels(case):
        hessian = library.HessianLinearOperator(
            nn.Sequential(_without_running_statistics(case), _Rows()),
            nn.CrossEntropyLoss(),
            parameters,
            [(case.inputs, case.targets.flatten())],
            check_deterministic=False,
        )

    def multiply(along: Sequence[Tensor] | None = None) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        with differentiable_kernels(case):
            direction = torch.autograd.grad(case.loss(), parameters) if along is None else along
            return direction, hessian @ list(direction)

    return multiply


def backpack_ggn(case: Case) -> Product:
    """The Gauss-Newton product of BackPACK's Hessian-free tools, on the graph of the gradient."""
    product_of = _optional("backpack.hessianfree.ggnvp", "backpack").ggn_vector_product
    parameters = case.parameters

    def multiply(along: Sequence[Tensor] | None = None) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        with differentiable_kernels(case):
            logits = case.network(case.inputs).flatten(0, -2)
            loss = F.cross_entropy(logits, case.targets.flatten())
            gradients = torch.autograd.grad(loss, parameters, create_graph=True)
            direction = [gradient.detach() for gradient in gradients] if along is None else along
            return direction, product_of(loss, logits, case.network, list(direction))

    return multiply


def _without_running_statistics(case: Case) -> nn.Module:
    """The network, its batch normalisation no longer counting: transforms refuse what is written in place."""
    return torch.func.replace_all_batch_norm_modules_(case.network)


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
