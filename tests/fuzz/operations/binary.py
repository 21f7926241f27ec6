"""Operations on two or three tensors, element by element, with broadcasting; the flowing value in either place."""

from __future__ import annotations

from tests.fuzz.operations.operation import Fields, Operation, Site, rows


def _with(site: Site) -> Fields:
    return {"b": site.cast(), "c": site.cast()}


_SMOOTH = """
    add: {a} + {b}
    sub: {a} - {b}
    mul: {a} * {b}
    subtracted from: {b} - {a}
    add with alpha: torch.add({a}, {b}, alpha=0.7)
    sub with alpha: torch.sub({b}, {a}, alpha=0.7)
    div: {a} / ({b}.exp() + 0.3)
    divides: {b} / ({a}.exp() + 0.3)
    atan2: torch.atan2({a}, {b}.exp() + 0.2)
    atan2 second: torch.atan2({b}, {a}.exp() + 0.2)
    hypot: torch.hypot({a}, {b} + 2.5)
    logaddexp: torch.logaddexp({a}, {b})
    logaddexp2: torch.logaddexp2({b}, {a})
    pow of tensors: (F.softplus({a}) + 0.2) ** torch.sigmoid({b})
    exponent: (F.softplus({b}) + 0.2) ** torch.sigmoid({a})
    xlogy: torch.xlogy({a}, F.softplus({b}) + 0.2)
    xlogy second: torch.xlogy({b}, F.softplus({a}) + 0.2)
    xlog1py: torch.special.xlog1py({a}, F.softplus({b}) + 0.2)
    lerp by number: torch.lerp({a}, {b}, 0.3)
    lerp by tensor: torch.lerp({a}, {b}, torch.sigmoid({c}))
    lerp weight: torch.lerp({b}, {c}, torch.sigmoid({a}))
    addcmul: torch.addcmul({a}, {b}, {c}, value=0.5)
    addcmul factor: torch.addcmul({b}, {a}, {c})
    addcdiv: torch.addcdiv({a}, {b}, {c}.exp() + 0.3, value=0.5)
    addcdiv divisor: torch.addcdiv({b}, {c}, {a}.exp() + 0.3)
    gate: torch.sigmoid({a}) * {b}
    gated by: torch.sigmoid({b}) * {a}
    squared difference: ({a} - {b}) ** 2
    product of three: {a} * {b} * {c}
    film: {a} * (1 + {b}) + {c}
    float_power: torch.float_power(F.softplus({a}) + 0.3, {b})
    gaussian kernel: torch.exp(-({a} - {b}) ** 2)
    """

_KINKED = """
    maximum: torch.maximum({a}, {b})
    minimum: torch.minimum({b}, {a})
    fmax: torch.fmax({a}, {b})
    fmin: torch.fmin({b}, {a})
    where of tensors: torch.where({a} > {b}, torch.sin({a}), torch.cos({b}))
    where by a third: torch.where({c} > 0, {a}, {b})
    clamp by tensors: torch.clamp({a}, {b}.detach() - 0.6, {b}.detach() + 0.9)
    absolute difference: ({a} - {b}).abs()
    prelu by hand: torch.where({a} > 0, {a}, torch.sigmoid({b}) * {a})
    masked by comparison: {a} * ({b} > 0)
    fmod of tensors: torch.fmod({a}, {b}.abs() + 0.5)
    remainder of tensors: torch.remainder({a}, {b}.abs() + 0.5)
    copysign of tensors: torch.copysign({a}, {b})
    heaviside: {a} * torch.heaviside({b}.detach(), torch.zeros(()))
    """


def _prelu(site: Site) -> Fields | None:
    if len(site.shape) < 2:
        return None
    return {"w": site.param(site.shape[1])}


BINARY = [
    *rows(_SMOOTH, _with),
    *rows(_KINKED, _with, kinked=True),
    Operation("prelu", "F.prelu({a}, {w})", _prelu, kinked=True),
    Operation("prelu of one weight", "F.prelu({a}, {w})", lambda site: {"w": site.param(1)}, kinked=True),
]
