"""Operations on each element alone."""

from __future__ import annotations

from tests.fuzz.operations.operation import chosen, rows

POINTWISE = [
    *rows(
        """
        sin: torch.sin({a})
        cos: torch.cos({a})
        tanh: torch.tanh({a})
        sigmoid: torch.sigmoid({a})
        exp: torch.exp(0.5 * {a})
        exp2: torch.exp2({a})
        expm1: torch.expm1({a})
        sinh: torch.sinh({a})
        cosh: torch.cosh({a})
        atan: torch.atan({a})
        asinh: torch.asinh({a})
        erf: torch.erf({a})
        erfc: torch.erfc({a})
        square: torch.square({a})
        cube: {a} ** 3
        neg: -{a}
        softplus: F.softplus({a})
        gelu: F.gelu({a})
        gelu by tanh: F.gelu({a}, approximate="tanh")
        silu: F.silu({a})
        mish: F.mish({a})
        logsigmoid: F.logsigmoid({a})
        tanhshrink: F.tanhshrink({a})
        softsign of square: F.softsign({a} ** 2)
        special.erfcx: torch.special.erfcx({a})
        special.ndtr: torch.special.ndtr({a})
        special.log_ndtr: torch.special.log_ndtr({a})
        special.i0: torch.special.i0({a})
        special.i1: torch.special.i1({a})
        rsub: 1.5 - {a}
        true power of a number: 1.5 ** {a}
        addcmul of itself: torch.addcmul({a}, {a}, {a}, value=0.3)
        nan_to_num: torch.nan_to_num({a}) ** 2
        clone: {a}.clone()
        contiguous: {a}.contiguous()
        identity: {a} + 0
        to float64: {a}.to(torch.float64) * 2
        deg2rad: torch.deg2rad(50 * {a})
        """
    ),
    *rows(
        """
        log: torch.log({a})
        log2: torch.log2({a})
        log10: torch.log10({a})
        log1p: torch.log1p({a})
        sqrt: torch.sqrt({a})
        rsqrt: torch.rsqrt({a})
        reciprocal: torch.reciprocal({a})
        lgamma: torch.lgamma({a})
        digamma: torch.digamma({a})
        sinc away from 0: torch.sinc({a})
        xlogx: torch.xlogy({a}, {a})
        entr: torch.special.entr({a})
        pow -1.3: {a} ** -1.3
        pow 0.5: {a} ** 0.5
        power of itself: {a} ** (0.5 * {a})
        divide number: 1.0 / {a}
        """,
        domain="positive",
    ),
    *rows(
        """
        logit: torch.logit({a})
        bernoulli entropy: -(torch.xlogy({a}, {a}) + torch.special.xlog1py(1 - {a}, -{a}))
        special.ndtri: torch.special.ndtri({a})
        """,
        domain="unit",
    ),
    *rows(
        """
        asin: torch.asin({a})
        acos: torch.acos({a})
        atanh: torch.atanh({a})
        erfinv: torch.erfinv({a})
        tan: torch.tan({a})
        """,
        domain="inner",
    ),
    *rows(
        """
        acosh: torch.acosh({a})
        lgamma of large: torch.lgamma({a})
        log of log: torch.log(torch.log({a}) + 0.5)
        """,
        domain="above one",
    ),
    *rows(
        """
        relu: F.relu({a})
        relu6: F.relu6(3 * {a})
        leaky_relu: F.leaky_relu({a}, 0.1)
        elu: F.elu({a})
        celu: F.celu({a}, 0.5)
        selu: F.selu({a})
        hardtanh: F.hardtanh({a})
        hardswish: F.hardswish({a})
        hardsigmoid: F.hardsigmoid({a})
        softshrink: F.softshrink({a}, 0.2)
        hardshrink: F.hardshrink({a}, 0.2)
        softsign: F.softsign({a})
        threshold: F.threshold({a}, 0.1, 0.3)
        abs: torch.abs({a})
        special.i0e: torch.special.i0e({a})
        clamp: torch.clamp({a}, -0.5, 0.8)
        clamp_min: torch.clamp_min({a}, 0.1)
        clamp_max: torch.clamp_max({a}, 0.4)
        relu squared: F.relu({a}) ** 2
        frac: torch.frac(2 * {a})
        fmod: torch.fmod({a}, 0.7)
        remainder: torch.remainder({a}, 0.7)
        where: torch.where({a} > 0, torch.exp(-{a}), torch.cos({a}))
        masked_fill: {a}.masked_fill({a} < 0, 0.3)
        mask as factor: {a}.exp() * ({a}.detach() > 0)
        copysign: torch.copysign({a}, {a} - 0.1)
        """,
        kinked=True,
    ),
    *rows(
        """
        scale and shift: {k} * {a} + {c}
        add number: {a} + {c}
        divided by number: {a} / {k}
        power: ({a} ** 2 + 0.3) ** {k}
        softplus with beta: F.softplus({a}, beta={k})
        hardtanh wide: F.hardtanh({a}, -{k}, {k})
        threshold softplus: F.softplus({a}, 2.0, 0.5)
        """,
        draw=chosen(k=[0.7, 1.3, 2.0, 2.5], c=[-0.4, 0.2, 1.0]),
        kinked=True,
    ),
    *rows(
        """
        glu of doubled: F.glu(torch.cat([{a}, {a}.sin()], {d}), {d})
        """,
        draw=lambda site: {"d": site.dim()} if site.shape else None,
    ),
]
