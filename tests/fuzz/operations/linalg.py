"""Linear algebra on well conditioned matrices, complex numbers, Fourier transforms and recurrent nets."""

from __future__ import annotations

from tests.fuzz.operations.operation import Fields, Operation, Site, rows


def _square(site: Site) -> Fields | None:
    """{m}: matrices close to the unit matrix; {s}: symmetric and positive definite ones, made of the last two axes."""
    if len(site.shape) < 2:
        return None
    *batch, m, _ = site.shape
    return {"b": site.operand(*batch, m, 2), "e": site.operand(m, 2), "v": site.operand(m)}


_M = "({a} @ {a}.mT / 4 + {a}.sum(-1, keepdim=True) * torch.tril(torch.ones({a}.shape[-2], {a}.shape[-2]), -1) / 4 + 2 * torch.eye({a}.shape[-2]))"  # noqa: E501
_S = "({a} @ {a}.mT / 4 + torch.eye({a}.shape[-2]))"

_TEXTS = f"""
    inv: torch.linalg.inv({_M})
    det: torch.linalg.det({_M})
    logdet: torch.logdet({_S})
    slogdet: torch.linalg.slogdet({_M})[1]
    solve: torch.linalg.solve({_M}, {{b}})
    solve shared: torch.linalg.solve({_M}, {{e}})
    solve for vectors: torch.linalg.solve({_S}, {{a}})
    cholesky: torch.linalg.cholesky({_S})
    cholesky_solve: torch.cholesky_solve({{b}}, torch.linalg.cholesky({_S}))
    cholesky_inverse: torch.cholesky_inverse(torch.linalg.cholesky({_S}))
    triangular solve: torch.linalg.solve_triangular({_M}.tril(), {{b}}, upper=False)
    matrix_exp: torch.linalg.matrix_exp({_S} / 4)
    matrix_power: torch.linalg.matrix_power({_S}, 3)
    eigvalsh of a spread one: torch.linalg.eigvalsh({_S} + torch.diag(5.0 * torch.arange({{a}}.shape[-2]))).exp2() / 9
    pinv: torch.linalg.pinv({_S}, hermitian=False)
    multi_dot: {{a}} @ ({{a}}.mT @ {{a}})
    trace: {_M}.diagonal(0, -1, -2).sum(-1)
    quadratic form: torch.einsum("...i,...ij,...j->...", {{v}}, {_S}, {{v}})
    """

_FOURIER = """
    fft: (lambda c: c.real * c.imag)(torch.fft.fft({a}, dim={d}))
    rfft power: torch.fft.rfft({a}, dim={d}).abs().square()
    rfft and back: torch.fft.irfft(torch.fft.rfft({a}, dim={d}) * 0.7, n={n}, dim={d}) * {a}
    ifft: torch.view_as_real(torch.fft.ifft({a}, dim={d}).resolve_conj()).pow(2).sum(-1)
    fftshift: torch.fft.fftshift({a}, {d}) * {a}
    complex product: (lambda c: (c * c.conj() * (1 + 2j) * c).real)(torch.complex({a}, {b}))
    complex exp: torch.exp(torch.complex({a} * 0.3, {b})).imag
    polar: torch.polar({a}.exp(), {b}).real
    complex abs: torch.complex({a} + 2, {b}).abs()
    complex angle: torch.complex({a}.exp(), {b}).angle()
    view_as_complex: torch.view_as_complex(torch.stack([{a}, {b}], -1)).square().real
    complex matmul: (lambda c: (c.unsqueeze(-1) @ c.conj().unsqueeze(-2)).imag.sum(-1))(torch.complex({a}, {b}))
    spectral filter: torch.fft.irfft(torch.fft.rfft({a}, dim={d}) * torch.sigmoid({c}), n={n}, dim={d})
    """


def _spectrum(site: Site) -> Fields | None:
    if not site.shape:
        return None
    d = site.dim()
    return {"d": d, "n": site.shape[d], "b": site.operand(*site.shape), "c": site.param(1)}


def _sequence(site: Site) -> Fields | None:
    if len(site.shape) != 3:
        return None
    n = site.shape[-1]
    a, b = site.shape[:2]
    first = site.rng.random() < 0.5
    h = f"torch.zeros(1, {a if first else b}, 2)"
    return {
        "first": first,
        "h": h,
        "l": ", ".join([site.param(8, n), site.param(8, 2), site.param(8), site.param(8)]),
        "g": ", ".join([site.param(6, n), site.param(6, 2), site.param(6), site.param(6)]),
        "r": ", ".join([site.param(2, n), site.param(2, 2)]),
    }


_RECURRENT = """
    lstm: torch.lstm({a}, ({h}, {h}), [{l}], True, 1, 0.0, True, False, {first})[0]
    gru: torch.gru({a}, {h}, [{g}], True, 1, 0.0, True, False, {first})[0]
    rnn: torch.rnn_tanh({a}, {h}, [{r}], False, 1, 0.0, True, False, {first})[0]
    last state of gru: torch.gru({a}, {h}, [{g}], True, 1, 0.0, True, False, {first})[1]
    """

LINALG: list[Operation] = [*rows(_TEXTS, _square), *rows(_FOURIER, _spectrum), *rows(_RECURRENT, _sequence)]
