"""Figure 7: batches with fewer samples than there are classes, and the memory of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.evidence.claims.ends import Ends, judged, mean
from benchmarks.paper.plan import Line, ScaleName, figures
from benchmarks.verdict import Verdict
from curvestep.bench.record import RunRecord

#: Task → number of classes.
CLASSES = {"cifar10-vgg11": 10, "cifar100-vgg19": 100}


def collapse_verdict(scale: ScaleName, runs: Mapping[str, RunRecord]) -> Verdict:
    """Whether RED is worse below the number of classes."""
    ends = Ends(runs)
    lines, held = _header("collapses"), list[bool | None]()
    for task, classes in CLASSES.items():
        plain = _lines(scale, task)
        reference = _reference(plain, classes)
        level = ends.losses(reference)
        for line in plain:
            losses = ends.losses(line)
            verdict: bool | None = None
            if line.wish.batch_size is not None and line.wish.batch_size < classes:
                verdict = None if losses is None or level is None else mean(losses) > mean(level)
                held.append(verdict)
            lines.append(_row(task, classes, line, ends, verdict))
    return Verdict(
        "RED collapses where a batch has fewer samples than there are classes",
        "Held if on both tasks, with each batch below the number of classes, the mean training loss after equally many "
        "epochs is above that of the smallest batch that is not below it. Smaller batches take more steps, so that "
        "without a collapse their loss is the lower one.",
        judged(held, len(held)),
        "\n".join(lines),
        ends.remark,
    )


def repair_verdict(scale: ScaleName, runs: Mapping[str, RunRecord]) -> Verdict:
    """Whether the memory makes it better there."""
    ends = Ends(runs)
    lines, held, whole = _header("better"), list[bool | None](), list[str]()
    for task, classes in CLASSES.items():
        plain, mended = _lines(scale, task), _lines(scale, f"{task}-memory")
        level = ends.losses(_reference(plain, classes))
        for line, other in zip(mended, plain, strict=True):
            losses, before = ends.losses(line), ends.losses(other)
            verdict: bool | None = None
            if line.wish.batch_size is not None and line.wish.batch_size < classes:
                verdict = None if losses is None or before is None else mean(losses) < mean(before)
                held.append(verdict)
                if losses is not None and level is not None and mean(losses) <= mean(level):
                    whole.append(f"{task} at {line.wish.batch_size}")
            lines.append(_row(f"{task}, memory", classes, line, ends, verdict))
    mend = f"Down to the loss of the smallest batch that is not below the classes: {'; '.join(whole) or 'nowhere'}."
    return Verdict(
        "A memory of 256 features before the last layer repairs it in part",
        "Held if on both tasks, with each batch below the number of classes, the mean training loss with the memory is "
        "below that without it.",
        judged(held, len(held)),
        "\n".join(lines),
        " ".join(part for part in (mend if all(each is not None for each in held) else "", ends.remark) if part),
    )


def _lines(scale: ScaleName, task: str) -> list[Line]:
    """RED at each batch of a task, the largest first."""
    found = [line for panel in figures(scale)["fig7"].panels for line in panel.lines if line.wish.task == task]
    return sorted((line for line in found if line.method == "red-sgd"), key=lambda line: -(line.wish.batch_size or 0))


def _reference(lines: Sequence[Line], classes: int) -> Line:
    """The smallest batch that is not below the number of classes."""
    return [line for line in lines if (line.wish.batch_size or 0) >= classes][-1]


def _header(word: str) -> list[str]:
    return [f"| task | classes | batch | training loss | test loss | {word} |", "|---|--:|--:|--:|--:|---|"]


def _row(task: str, classes: int, line: Line, ends: Ends, verdict: bool | None) -> str:
    """One batch."""
    word = "" if verdict is None else "yes" if verdict else "no"
    test = ends.cell(line, "test_loss")
    return f"| {task} | {classes} | {line.wish.batch_size} | {ends.cell(line)} | {test} | {word} |"
