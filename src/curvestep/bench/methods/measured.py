"""A measured step under a ceiling with other intervals, shares of the batch and decays of the average."""

from __future__ import annotations

from curvestep.bench.methods.method import BuildRequest, Built, Method

#: Longest interval in steps, the share of the batch that is measured (None: all of it), β₃ of the average. The first is
#: the reference: the whole batch at every step, as in the source.
_GRID: tuple[tuple[int, float | None, float], ...] = (
    (1, None, 0.9),
    (16, 1 / 4, 0.9),
    (16, 1 / 4, 0.8),
    (16, 1 / 4, 0.7),
    (32, 1 / 4, 0.5),
)
_NAMES = {None: "all", 1 / 4: "quarter"}


def _method(every: int, share: float | None, beta3: float) -> Method:
    """The method of one cell of the grid."""

    def build(request: BuildRequest) -> Built:
        from curvestep.bench.methods.ceiling_adam import CeilingAdam

        optimizer = CeilingAdam(
            request.parameters, weight_decay=request.weight_decay, every=every, share=share, beta3=beta3
        )
        return Built(optimizer, optimizer, averaged=optimizer.averaged)

    what = "all samples" if share is None else f"a {_NAMES[share]} of the samples"
    when = "every step" if every == 1 else f"steps at most {every} apart"
    name = f"ceiling-{every}-{_NAMES[share]}" + ("" if share is None else f"-{beta3:g}")
    return Method(name, f"auto-ceiling measured on {when}, {what}, β₃ = {beta3:g}", False, build)


MEASURED: tuple[Method, ...] = tuple(_method(every, share, beta3) for every, share, beta3 in _GRID)
