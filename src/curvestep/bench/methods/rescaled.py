"""curvestep's own methods: no learning rate, only a schedule of ℓ that is part of the method."""

from __future__ import annotations

from curvestep.bench.methods.method import BuildRequest, Built, Method

_MOMENTUM = 0.9


def _red_sgd(request: BuildRequest) -> Built:
    """The gradient, rescaled; ℓ falls once an epoch."""
    import curvestep

    optimizer = curvestep.RescaledSGD(request.parameters, weight_decay=request.weight_decay)
    return Built(optimizer, reporter=optimizer, epoch_scheduler=curvestep.schedules.red(optimizer, request.epochs))


def _red_rmsprop(request: BuildRequest) -> Built:
    """The gradient over its root mean square, rescaled; ℓ falls once an epoch."""
    import curvestep

    optimizer = curvestep.RescaledRMSprop(request.parameters, weight_decay=request.weight_decay)
    return Built(optimizer, reporter=optimizer, epoch_scheduler=curvestep.schedules.red(optimizer, request.epochs))


def _red_adam(request: BuildRequest) -> Built:
    """Adam's direction, rescaled with the absolute slope; ℓ falls along a line."""
    import curvestep

    optimizer = curvestep.RescaledAdam(request.parameters, weight_decay=request.weight_decay)
    scheduler = curvestep.schedules.linear(optimizer, request.steps, start=1.0, end=0.05)
    return Built(optimizer, reporter=optimizer, step_scheduler=scheduler)


def _red_adam_geometric(request: BuildRequest) -> Built:
    """The same with ℓ falling by the same factor at every step."""
    import curvestep

    optimizer = curvestep.RescaledAdam(request.parameters, weight_decay=request.weight_decay)
    scheduler = curvestep.schedules.exponential(optimizer, request.steps, start=1.0, end=0.05)
    return Built(optimizer, reporter=optimizer, step_scheduler=scheduler)


def _ran_sgd(request: BuildRequest) -> Built:
    """The gradient, rescaled; ℓ follows the cycle of exploration, convergence and hyperexploration."""
    import curvestep

    optimizer = curvestep.RescaledSGD(request.parameters, weight_decay=request.weight_decay)
    return Built(optimizer, reporter=optimizer, epoch_scheduler=curvestep.schedules.ran(optimizer))


def _red_sgd_momentum(request: BuildRequest) -> Built:
    """The gradient with momentum β₁, rescaled with the absolute slope; ℓ starts at 1 - β₁ and halves over the run."""
    import curvestep

    optimizer = curvestep.RescaledSGD(
        request.parameters, lr=1.0 - _MOMENTUM, momentum=_MOMENTUM, weight_decay=request.weight_decay
    )
    return Built(optimizer, reporter=optimizer, epoch_scheduler=curvestep.schedules.red(optimizer, request.epochs))


def _red_adam_guard(request: BuildRequest) -> Built:
    """Adam's direction, rescaled, each step held to the bound; ℓ falls along a line."""
    import curvestep

    optimizer = curvestep.RescaledAdam(request.parameters, weight_decay=request.weight_decay, guard_every=1)
    scheduler = curvestep.schedules.linear(optimizer, request.steps, start=1.0, end=0.05)
    return Built(optimizer, reporter=optimizer, step_scheduler=scheduler)


def _red_sgd_ggn(request: BuildRequest) -> Built:
    """The gradient, rescaled by the Gauss-Newton form; ℓ falls once an epoch."""
    import curvestep

    optimizer = curvestep.RescaledSGD(request.parameters, weight_decay=request.weight_decay, curvature_kind="ggn")
    return Built(optimizer, reporter=optimizer, epoch_scheduler=curvestep.schedules.red(optimizer, request.epochs))


def _red_adam_ggn(request: BuildRequest) -> Built:
    """Adam's direction, rescaled by the Gauss-Newton form; ℓ falls along a line."""
    import curvestep

    optimizer = curvestep.RescaledAdam(request.parameters, weight_decay=request.weight_decay, curvature_kind="ggn")
    scheduler = curvestep.schedules.linear(optimizer, request.steps, start=1.0, end=0.05)
    return Built(optimizer, reporter=optimizer, step_scheduler=scheduler)


def _red_adam_smoothed(request: BuildRequest) -> Built:
    """Adam's direction, rescaled with the slope averaged over the steps with its sign; ℓ falls along a line."""
    import curvestep

    optimizer = curvestep.RescaledAdam(request.parameters, weight_decay=request.weight_decay, slope="smoothed")
    scheduler = curvestep.schedules.linear(optimizer, request.steps, start=1.0, end=0.05)
    return Built(optimizer, reporter=optimizer, step_scheduler=scheduler)


def _half_adam(request: BuildRequest) -> Built:
    """Adam's direction, rescaled; ℓ stays at ½, whatever the length of the run."""
    import curvestep

    optimizer = curvestep.RescaledAdam(request.parameters, lr=0.5, weight_decay=request.weight_decay)
    return Built(optimizer, reporter=optimizer)


def _half_adam_guard(request: BuildRequest) -> Built:
    """The same with each step held to the bound."""
    import curvestep

    optimizer = curvestep.RescaledAdam(request.parameters, lr=0.5, weight_decay=request.weight_decay, guard_every=1)
    return Built(optimizer, reporter=optimizer)


RED_SGD = Method("red-sgd", "gradient, curvature rescaling, ℓ from 1 to ½ over the epochs", False, _red_sgd)
RED_RMSPROP = Method("red-rmsprop", "RMSprop direction, curvature rescaling, ℓ from 1 to ½", False, _red_rmsprop)
RED_ADAM = Method("red-adam", "Adam direction, curvature rescaling, ℓ from 1 to 0.05 along a line", False, _red_adam)
RED_ADAM_GEOMETRIC = Method(
    "red-adam-geometric", "red-adam with ℓ from 1 to 0.05 by the same factor a step", False, _red_adam_geometric
)
RAN_SGD = Method("ran-sgd", "gradient, curvature rescaling, ℓ in cycles of 1, ½ and 2", False, _ran_sgd)
RED_SGD_MOMENTUM = Method(
    "red-sgd-momentum", "gradient with momentum 0.9, curvature rescaling, ℓ from 0.1 to 0.05", False, _red_sgd_momentum
)
RED_ADAM_GUARD = Method("red-adam-guard", "red-adam, each step held to equation (9)", False, _red_adam_guard)
RED_SGD_GGN = Method("red-sgd-ggn", "red-sgd with the Gauss-Newton form of the curvature", False, _red_sgd_ggn)
RED_ADAM_GGN = Method("red-adam-ggn", "red-adam with the Gauss-Newton form of the curvature", False, _red_adam_ggn)
RED_ADAM_SMOOTHED = Method(
    "red-adam-smoothed", "red-adam with the slope averaged over the steps", False, _red_adam_smoothed
)
HALF_ADAM = Method("half-adam", "Adam direction, curvature rescaling, ℓ = ½ throughout", False, _half_adam)
HALF_ADAM_GUARD = Method("half-adam-guard", "half-adam, each step held to equation (9)", False, _half_adam_guard)
