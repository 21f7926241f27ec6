"""`curvestep.doctor`: examine a model, a batch and a loss, and leave them as they were."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from curvestep._errors import CurvestepError, MissingRuleError, RecordingError
from curvestep.diagnostics.diagnosis import Diagnosis
from curvestep.diagnostics.findings import Coverage, Operation, Parameters, Samples
from curvestep.diagnostics.measurement import measure_steps
from curvestep.diagnostics.operations import list_operations, where_batch_was_found
from curvestep.diagnostics.products import count_products
from curvestep.diagnostics.suggestion import suggest_steps
from curvestep.diagnostics.untouched import untouched
from curvestep.engine import Curvature, Tape, record
from curvestep.engine.passes.analysis import analyse

LossFunction = Callable[[Any, Any], Tensor]  # of the model and the batch, which the user's function types itself


def doctor(
    model: nn.Module,
    example_batch: Any,
    loss_fn: LossFunction,
    *,
    measure: bool = True,
    progress: Callable[[str], None] = lambda _: None,
) -> Diagnosis:
    """Examine whether and at what cost curvestep can train a model.

    Definition:
        J = loss_fn(model, example_batch), a scalar: the mean over the batch of the samples' losses. An operation on a
        path from a parameter to J is covered if its second derivative is known, by a rule of its own or by
        decomposition into operations that have one. The suggested step τ is that of θ ← θ − τ d for the first step
        from θ: on the parabola that has the slope ⟨∇J, d⟩ and the curvature mean_s |dᵀ∇²J_s d|, ℓ = ½ goes to the
        minimum and ℓ = 1 to the far side.

    | symbol | name | meaning |
    |---|---|---|
    | θ | `model.parameters()` | those that require gradients |
    | J | `diagnosis.loss` | the loss on the batch |
    | ℓ, τ | `suggestion.ell`, `suggestion.step_size` | level, step size |

    Args:
        model: any module, in the mode (training or evaluation) in which it is to be examined. Parameters, buffers,
            `p.grad`, hooks, flags and random number generators are left as they are.
        example_batch: anything that `loss_fn` can read: a tensor, a tuple (inputs, targets), a dictionary.
        loss_fn: computes the loss from the model and the batch, without calling backward:
            `lambda model, batch: criterion(model(batch[0]), batch[1])`.
        measure: also measure the time and memory of a step against a plain one.
        progress: called with a few words before each part of the work, for large models: `progress=print`.

    Returns:
        A `Diagnosis`: printed, it is a page; `diagnosis.covered` says whether the curvature can be measured exactly.

    Raises:
        CurvestepError: the model is no module or one that hides its operations, the loss is no finite scalar or does
            not depend on a parameter, or a gradient sparse. The message says what to do.

    Cost:
        Seven steps on the batch, thirty-four more with `measure`; a copy of parameters and buffers.

    Example:
        For J = ½ mean ‖θ − x_s‖² one gradient step of size 1 goes to the minimum, so ℓ = ½ suggests 1:

        >>> import torch, curvestep
        >>> class Point(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.theta = torch.nn.Parameter(torch.zeros(2))
        >>> x = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 0.0]])
        >>> found = curvestep.doctor(
        ...     Point(), x, lambda model, x: (0.5 * (model.theta - x) ** 2).sum(dim=1).mean(), measure=False
        ... )
        >>> found.covered, found.samples.batch_size
        (True, 3)
        >>> found.suggestions[0].optimizer, found.suggestions[0].ell, found.suggestions[0].step_size
        ('RescaledSGD', 0.5, 1.0)
    """
    notes: list[str] = []
    inner = getattr(model, "_orig_mod", None)
    if isinstance(inner, nn.Module):
        notes.append(
            "The model is wrapped by torch.compile. A recording runs its operations one by one, uncompiled; the "
            "original module was examined, and times are against uncompiled steps."
        )
        model = inner
    parameters = _checked(model)
    if not model.training:
        notes.append("The model is in evaluation mode; call model.train() first to examine it as it is trained.")

    def compute() -> Tensor:
        with torch.enable_grad():
            return loss_fn(model, example_batch)

    resident = sum(t.nbytes for t in {*model.parameters(), *model.buffers()})
    progress("a step, recorded")
    with untouched(model) as start:
        with record() as tape:
            loss = _loss(compute, tape)
            loss.backward()
        _check_gradients(parameters)
        names = {
            tape.recording.leaves[id(p)][1]: name for name, p in parameters.items() if id(p) in tape.recording.leaves
        }
        try:
            tape.require_backward()
            plan = analyse(tape.recording, tape.recording.root, names)
            operations = list_operations(tape.recording, plan, names)
            read = set(names) & {v for node in plan.steps for v in node.inputs}
            moving = {name: p for name, p in parameters.items() if _value(tape, p) in read or p.grad is not None}
            refusal, curvature = _try_pass(tape, list(moving.values()))
            covered = refusal is None and all(op.coverage is not Coverage.MISSING for op in operations)
            found = where_batch_was_found(tape.recording, plan, names, example_batch)
            products = count_products(tape.recording, plan, set(names)) if covered else None
            samples = Samples(
                batch_size=plan.batch,
                found=found if plan.batch is not None else None,
                exact=curvature is not None and curvature.per_sample_exact,
                form=None if curvature is None else curvature.source,
            )
            value = float(tape.loss)
        finally:
            tape.release()
        measurement, suggestions = None, ()
        if covered:
            suggestions = suggest_steps(compute, list(moving.values()), start, progress)
            if measure:
                measurement = measure_steps(compute, list(moving.values()), start, resident, progress)
    return Diagnosis(
        loss=value,
        operations=operations,
        refusal=refusal,
        samples=samples,
        parameters=Parameters(
            tensors=len(moving),
            elements=sum(p.numel() for p in moving.values()),
            frozen=tuple(name for name, p in model.named_parameters() if not p.requires_grad),
            unreached=tuple(name for name in parameters if name not in moving),
        ),
        products=products,
        measurement=measurement,
        suggestions=suggestions,
        notes=(*notes, *_notes(operations, samples, covered=covered)),
    )


def _checked(model: nn.Module) -> dict[str, Tensor]:
    """The parameters that require gradients, by name; refuses what cannot be examined."""
    if not isinstance(model, nn.Module):
        raise CurvestepError(
            f"doctor needs a torch.nn.Module as its model, but an object of type {type(model).__name__} was given. "
            "Wrap what holds the parameters in a module."
        )
    if isinstance(model, nn.DataParallel):
        raise CurvestepError(
            "doctor needs the module itself, but torch.nn.DataParallel was given, which runs copies of it in threads "
            "that a recording cannot see. Pass model.module, and train with DistributedDataParallel."
        )
    named: dict[str, Tensor] = dict(model.named_parameters())
    moving = {name: parameter for name, parameter in named.items() if parameter.requires_grad}
    if not moving:
        raise CurvestepError(
            f"doctor needs a parameter that requires a gradient, but {type(model).__name__} has none among "
            f"{len(named)}. Call requires_grad_() on those that are to be trained."
        )
    return moving


def _loss(compute: Callable[[], Tensor], tape: Tape) -> Tensor:
    """The loss of the recording; refuses what backward cannot start from."""
    try:
        loss = compute()
    except TypeError as error:
        raise CurvestepError(
            f"doctor calls loss_fn(model, example_batch), which raised TypeError: {error}. Give a function of these "
            "two, as in lambda model, batch: criterion(model(batch[0]), batch[1])."
        ) from error
    if not isinstance(loss, Tensor):
        raise CurvestepError(
            f"loss_fn must return the loss as a tensor, but it returned an object of type {type(loss).__name__}."
        )
    if loss.numel() != 1:
        raise CurvestepError(
            f"loss_fn must return one number, but it returned a tensor of shape {tuple(loss.shape)}. Take its mean."
        )
    if tape.recording.log.tasks:
        raise RecordingError("loss_fn must only compute the loss, but it ran backward. Leave backward to doctor.")
    if not loss.requires_grad:
        raise CurvestepError(
            "The loss has no gradient path to a parameter. Look for detach(), .item(), torch.no_grad() or a "
            "conversion to numpy between the model and the loss."
        )
    if not bool(torch.isfinite(loss)):
        raise CurvestepError(
            f"The loss must be finite, but it is {loss.item()}. Look at the batch for NaN or infinite entries, and at "
            "the first values of the parameters."
        )
    return loss


def _check_gradients(parameters: dict[str, Tensor]) -> None:
    """Refuse sparse gradients by name."""
    for name, parameter in parameters.items():
        gradient = parameter.grad
        if gradient is not None and gradient.layout is not torch.strided:
            raise CurvestepError(
                f"curvestep needs dense gradients, but that of {name} has layout {gradient.layout}. Build the "
                "embedding with sparse=False."
            )


def _value(tape: Tape, parameter: Tensor) -> Any:
    entry = tape.recording.leaves.get(id(parameter))
    return None if entry is None else entry[1]


def _try_pass(tape: Tape, moving: list[Tensor]) -> tuple[str | None, Curvature | None]:
    """Run the pass along the gradient: a rule may refuse a setting of its operation that no table shows."""
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad.detach() for p in moving]
    try:
        return None, tape.curvature(moving, gradients)
    except MissingRuleError as error:
        return str(error), None


def _notes(operations: tuple[Operation, ...], samples: Samples, *, covered: bool) -> list[str]:
    """What the parts mean for training."""
    notes: list[str] = []
    if samples.batch_size is None:
        notes.append(
            "No axis of samples was found, so the absolute value is taken of the whole batch's curvature and steps may "
            "be longer. Say how many samples there are: optimizer.record(batch_size=…)."
        )
    elif covered and not samples.exact:
        notes.append(
            "The curvature of the batch is exact, its split over the samples is not: samples interact in a way that "
            "cannot be taken apart."
        )
    if any(op.kinks for op in operations):
        notes.append(
            "Operations with kinks have the curvature of their smooth pieces; what a step across a kink meets is not "
            "in it."
        )
    return notes
