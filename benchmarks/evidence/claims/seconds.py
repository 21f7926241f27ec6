"""Table 3: the time of an epoch of RED over that of the plain methods."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.evidence.claims.ends import judged
from benchmarks.paper.plan import ScaleName
from benchmarks.paper.times import SOURCE, TimeRow, ratio
from benchmarks.verdict import Verdict

#: A ratio agrees where it is at most so many times the source's; to be cheaper is no failure.
AGREES = 1.2


def seconds_verdict(scale: ScaleName, times: Sequence[TimeRow]) -> Verdict:
    """Whether RED costs as much more as the source says, or less."""
    rows = {(row.task, row.method): row for row in times if row.scale == scale}
    lines = [
        "| task | RED-SGD over SGD | source | RED-RMSprop over RMSprop | source | Auto over AdamW |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    held: list[bool | None] = []
    missing: list[str] = []
    for task, (sgd, rmsprop, red_sgd, red_rmsprop) in SOURCE.items():
        cells = [task]
        for own, base, said in (("red-sgd", "sgd", red_sgd / sgd), ("red-rmsprop", "rmsprop", red_rmsprop / rmsprop)):
            found = _over(rows, task, own, base)
            held.append(None if found is None else found <= AGREES * said)
            cells += ["–" if found is None else f"{found:.2f}", f"{said:.2f}"]
        beside = _over(rows, task, "auto", "adamw")
        lines.append(f"| {' | '.join([*cells, '–' if beside is None else f'{beside:.2f}'])} |")
        if None in held[-2:]:
            missing.append(task)
    return Verdict(
        "An epoch of RED takes as many times a plain one's time as in the source's table 3",
        f"Held if on each task, with both directions, the ratio of processor times measured here is at most {AGREES:g} "
        "times the ratio of seconds in the source. There it was measured on a Quadro RTX 5000, here on one core and "
        "with smaller networks, whose steps are shorter and pay more for what is not products.",
        judged(held, 2 * len(SOURCE)),
        "\n".join(lines),
        f"Not enough runs: {'; '.join(missing)}." if missing else "",
    )


def _over(rows: dict[tuple[str, str], TimeRow], task: str, own: str, base: str) -> float | None:
    """The ratio of two methods' times; None while one is missing."""
    first, second = rows.get((task, own)), rows.get((task, base))
    return None if first is None or second is None else ratio(first, second)
