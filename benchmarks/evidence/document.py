"""The evidence as one Markdown document: a summary for docs/, and the whole of it for the page in HTML."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.evidence.gather import Evidence, share_of_runs
from benchmarks.evidence.glance import GROUPS, figure_title, glance
from benchmarks.growth import page as growth_page
from benchmarks.paper import page as paper_page
from benchmarks.paper.parts import MNIST
from benchmarks.paper.plan import figures
from benchmarks.regimes import page as regimes_page
from benchmarks.sensitivity import page as sensitivity_page


def document(evidence: Evidence, figure_folder: Path, *, whole: bool) -> str:
    """The document.

    Args:
        evidence: of the stores.
        figure_folder: where the figures are; one that is missing there is left out.
        whole: with the tables of every figure, the regimes' verdicts, and the whole pages of sensitivity and growth.

    Returns:
        Markdown; figures as `figures/NAME.png`.
    """
    out = [
        "# Evidence",
        "",
        "What the methods' sources claim, run again here and judged by rules that were fixed before the runs; how much "
        "the one number of each method matters; and how the cost of a measured step grows. `python -m benchmarks "
        "report` writes this page, and all of it as one file `build/evidence.html`, from the stores in "
        "`benchmarks/stores`; it makes no run.",
        "",
        *_head(evidence),
        "## At a glance",
        "",
        *glance(evidence),
        "",
        *_what_was_run(evidence),
        f"## {GROUPS['paper']}",
        "",
        *_scale(evidence),
        *_paper(evidence, figure_folder, whole=whole),
        f"## {GROUPS['mnist']}",
        "",
        *_mnist(figure_folder),
        *_verdicts(evidence, "mnist"),
        f"## {GROUPS['sources']}",
        "",
        *_verdicts(evidence, "sources"),
        f"## {GROUPS['regimes']}",
        "",
        *_regimes(evidence, figure_folder, whole=whole),
        *_sensitivity(evidence, figure_folder, whole=whole),
        *_growth(evidence, figure_folder, whole=whole),
        *_notes(evidence),
        *_again(evidence),
    ]
    return "\n".join(out)


def _head(evidence: Evidence) -> list[str]:
    """The whole in three sentences."""
    runs = sum(line.count for line in evidence.stores if line.diverged is not None)
    lost = sum(line.diverged or 0 for line in evidence.stores)
    share = share_of_runs(evidence)
    whole = "all of them are there" if share == 1.0 else f"{100 * share:.0f} % of them are there"
    return [
        f"{runs:,} runs to the end or to their divergence ({lost:,} diverged) and {len(evidence.growth):,} measured "
        "steps stand behind it. Of the runs that the curvature paper's figures ask for at the scale "
        f"`{evidence.scale}`, {whole}. A claim of which runs are missing is not judged, unless what is there "
        "refutes it.",
        "",
    ]


def _what_was_run(evidence: Evidence) -> list[str]:
    """A line a store."""
    out = ["## What was run", "", "| store | what | rows | diverged | revisions |", "|---|---|--:|--:|---|"]
    for line in evidence.stores:
        lost = "–" if line.diverged is None else str(line.diverged)
        shown = ", ".join(f"`{each}`" for each in line.revisions[:2]) or "–"
        more = f" and {len(line.revisions) - 2} more" if len(line.revisions) > 2 else ""
        out.append(f"| {line.name} | {line.holds} | {line.count:,} | {lost} | {shown}{more} |")
    return [*out, ""]


def _scale(evidence: Evidence) -> list[str]:
    """What the size of the runs means for the verdicts."""
    if evidence.scale == "paper":
        return []
    return [
        "These runs are far smaller than the source's: narrow networks, about a thousand examples, 25 epochs. A "
        "verdict says whether the claim holds at this size, not whether the source is right at its own. VGG19 on "
        "CIFAR-100 is still near chance after its 150 steps; a claim that asks for every task can fall by that one "
        "alone. [paper.md](paper.md) has the settings, every table and the figures over what was spent; `python -m "
        "benchmarks paper --scale paper` makes the source's own runs.",
        "",
    ]


def _paper(evidence: Evidence, folder: Path, *, whole: bool) -> list[str]:
    """A section a figure."""
    tables = _tables(paper_page.text(evidence.scale, evidence.paper, evidence.times)) if whole else {}
    out: list[str] = []
    plan = figures(evidence.scale)
    for place in dict.fromkeys(claim.place for claim in evidence.claims if claim.group == "paper"):
        title = figure_title(place)
        out += [f"### {title}", ""]
        if place in plan:
            out += [f"{plan[place].title}. The source: {plan[place].claim}", ""]
            out += _image(folder, f"paper-{place}", f"{title} over the epochs")
            if whole:
                out += _image(folder, f"paper-{place}-cost", f"{title} over what was spent")
        out += _verdicts(evidence, "paper", place)
        if tables.get(title):
            out += [f"#### {title}: every line", "", *tables[title], ""]
    return out


def _mnist(folder: Path) -> list[str]:
    """What the panel at the source's own size is."""
    return [
        "The source's network, batches and 200 epochs on all of MNIST, the one panel of its figure 2 that a CPU can "
        "make; rates and decays from a coarser grid than the source's. [paper-mnist.md](paper-mnist.md) has the "
        "settings, the table and what was not run.",
        "",
        *_image(folder, f"{MNIST.stem}-fig2", "MNIST at the size of the source"),
    ]


def _tables(text: str) -> dict[str, list[str]]:
    """The tables of a page by the beginning of their section's title."""
    found: dict[str, list[str]] = {}
    for section in text.split("\n## ")[1:]:
        found[section.split(":", 1)[0]] = [line for line in section.split("\n") if line.startswith("|")]
    return found


def _verdicts(evidence: Evidence, group: str, place: str = "") -> list[str]:
    """Each claim with its rule and its numbers."""
    out: list[str] = []
    for claim in evidence.claims:
        if claim.group != group or (place and claim.place != place):
            continue
        verdict = claim.verdict
        out += [f"#### {verdict.claim}", "", f"**{claim.word}.** {verdict.rule}", "", verdict.table, ""]
        out += [verdict.remark, ""] if verdict.remark else []
    return out


def _regimes(evidence: Evidence, folder: Path, *, whole: bool) -> list[str]:
    """The figure, and the verdicts or where they are."""
    out = _image(folder, "regimes", "the four experiments")
    if whole:
        head = regimes_page.page((), "").split("\n\n")[1]
        return [head, "", *out, *_verdicts(evidence, "regimes")]
    return ["Rules and numbers: [regimes.md](regimes.md).", "", *out]


def _sensitivity(evidence: Evidence, folder: Path, *, whole: bool) -> list[str]:
    """The page, or its tables."""
    text = sensitivity_page.page(evidence.sensitivity, evidence.machines, "figures/sensitivity.png")
    if whole:
        return [_nested(text, folder), ""]
    out = ["## How much the one number matters", "", *_image(folder, "sensitivity", "loss over the number")]
    return [*out, *sensitivity_page.summary(evidence.sensitivity), "", "More: [sensitivity.md](sensitivity.md).", ""]


def _growth(evidence: Evidence, folder: Path, *, whole: bool) -> list[str]:
    """The page, or what it says of large models."""
    text = growth_page.page(evidence.growth, evidence.exchanges, evidence.machines, "figures/growth.png")
    if whole:
        return [_nested(text, folder), ""]
    out = ["## How the cost of a measured step grows", "", *_image(folder, "growth", "ratios by size, and the model")]
    return [*out, *growth_page.summary(evidence.growth, evidence.exchanges), "", "More: [growth.md](growth.md).", ""]


def _nested(text: str, folder: Path) -> str:
    """A page one level deeper, without figures that are not there."""
    kept = [line for line in text.split("\n") if not (found := _IMAGE.match(line)) or (folder / found[1]).exists()]
    return "\n".join(f"#{line}" if line.startswith("#") else line for line in kept)


_IMAGE = re.compile(r"^!\[[^\]]*\]\(figures/([^)]+)\)$")


def _image(folder: Path, name: str, what: str) -> list[str]:
    """A figure, where it was drawn."""
    return [f"![{what}](figures/{name}.png)", ""] if (folder / f"{name}.png").exists() else []


def _notes(evidence: Evidence) -> list[str]:
    """What is wrong with stores."""
    out = ["## Notes on the stores", ""]
    if not evidence.notes:
        return [*out, "Every line was read, every planned run is there, each store is of one revision.", ""]
    return [*out, *(f"- {note}" for note in evidence.notes), ""]


def _again(evidence: Evidence) -> list[str]:
    """Versions, processor and commands."""
    out = ["## Environment, and how to make it again", ""]
    names = ("curvestep", "python", "torch", "numpy", "system", "processor", "processors", "threads", "accelerator")
    for environment in evidence.environments:
        out.append("- " + ", ".join(f"{name} {environment[name]}" for name in names if name in environment))
    return [
        *out,
        "",
        "```console",
        '$ pip install -e ".[bench]"                     # and CURVESTEP_DATA: a folder with MNIST and CIFAR',
        "$ python -m benchmarks paper                    # an hour on a core; --scale paper: weeks on a GPU",
        f"$ python -m benchmarks paper fig2 --scale paper --tasks {MNIST.tasks} --grid {MNIST.grid} \\",
        f"    --page docs/{MNIST.stem}.md                 # two hours on a core",
        "$ python -m benchmarks claims                   # ten minutes",
        "$ python -m benchmarks regimes                  # a quarter of an hour",
        "$ python -m benchmarks sensitivity              # a quarter of an hour",
        "$ python -m benchmarks growth                   # ten minutes",
        "$ python -m benchmarks report                   # this page, from the stores alone",
        "```",
        "",
        "Each goes on where it was stopped, and repeats nothing that its store has.",
        "",
    ]
