"""Other ways to dᵀ∇²J d along the gradient: double backward, forward over reverse, and other libraries' products.

Each takes a whole step: the gradient d, the product of the Hessian (or its Gauss-Newton form) with it, the step size
|⟨∇J, d⟩| / |dᵀ∇²J d| on the host, and the update. None splits the curvature over the samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from curvestep.bench.measure import cross_entropy
from curvestep.bench.overhead.subjects import Subject, differentiable_kernels

# Longest step: the size of a step is nothing that a step costs, and the next one must not leave where it began by far.
_LONGEST = 1e-4


class NotApplicable(Exception):
    """A way cannot be taken on a network; the message says why."""


def double_backward(subject: Subject) -> Callable[[], None]:
    """Autograd twice, as a user writes it."""
    parameters = subject.parameters

    def step() -> None:
        with differentiable_kernels(subject):
            gradients = torch.autograd.grad(subject.loss(), parameters, create_graph=True)
            direction = [gradient.detach() for gradient in gradients]
            products = torch.autograd.grad(gradients, parameters, grad_outputs=direction)
        _update(parameters, direction, products)

    return step


def jvp_of_grad(subject: Subject) -> Callable[[], None]:
    """The gradient, then forward mode over reverse mode along it; nothing can be reused of the first."""
    network, parameters = _without_running_statistics(subject), subject.parameters
    names = [name for name, _ in network.named_parameters()]
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}

    def loss(*values: Tensor) -> Tensor:
        state = {**dict(zip(names, values, strict=True)), **buffers}
        return cross_entropy(torch.func.functional_call(network, state, (subject.inputs,)), subject.targets)

    gradient_of = torch.func.grad(loss, argnums=tuple(range(len(names))))

    def step() -> None:
        with differentiable_kernels(subject):
            direction = torch.autograd.grad(subject.loss(), parameters)
            values = tuple(p.detach() for p in parameters)
            products = torch.func.jvp(gradient_of, values, direction)[1]
        _update(parameters, direction, products)

    return step


@final
class _Rows(nn.Module):
    """Logits as rows."""

    def forward(self, logits: Tensor) -> Tensor:
        """(…, classes) to (rows, classes)."""
        return logits.flatten(0, -2)


def curvlinops(subject: Subject) -> Callable[[], None]:
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

    def step() -> None:
        with differentiable_kernels(subject):
            direction = torch.autograd.grad(subject.loss(), parameters)
            products = hessian @ list(direction)
        _update(parameters, direction, products)

    return step


def backpack_ggn(subject: Subject) -> Callable[[], None]:
    """The Gauss-Newton product of BackPACK's Hessian-free tools, on the graph of the gradient."""
    product_of = _optional("backpack.hessianfree.ggnvp", "backpack").ggn_vector_product
    parameters = subject.parameters

    def step() -> None:
        with differentiable_kernels(subject):
            logits = subject.network(subject.inputs).flatten(0, -2)
            loss = F.cross_entropy(logits, subject.targets.flatten())
            direction = torch.autograd.grad(loss, parameters, create_graph=True)
            direction = [gradient.detach() for gradient in direction]
            products = product_of(loss, logits, subject.network, direction)
        _update(parameters, direction, products)

    return step


def _without_running_statistics(subject: Subject) -> nn.Module:
    """The network, its batch normalisation no longer counting: transforms refuse what is written in place."""
    return torch.func.replace_all_batch_norm_modules_(subject.network)


def _optional(module: str, name: str | None = None) -> Any:
    """A library that need not be there."""
    try:
        return import_module(module)
    except ImportError:
        raise NotApplicable(f'{name or module} is not installed; pip install "curvestep[peers]" has it') from None


def _update(parameters: Sequence[Tensor], direction: Sequence[Tensor], products: Sequence[Tensor]) -> None:
    """θ ← θ − τ d with τ from slope and curvature, which go to the host as they do in every measured step."""
    with torch.no_grad():
        curvature = sum(torch.sum(d * product) for d, product in zip(direction, products, strict=True))
        slope = sum(torch.sum(d * d) for d in direction)
        numbers = torch.stack([torch.as_tensor(slope), torch.as_tensor(curvature)]).tolist()
        step_size = min(abs(numbers[0]) / max(abs(numbers[1]), 1e-12), _LONGEST)
        torch._foreach_add_(list(parameters), list(direction), alpha=-step_size)
