"""Which runs each figure asks for, at both scales; fixed before any of them was made. Imports no torch.

The scale `paper` is the source's: its networks, lengths, and grid of 14 rates by 3 or 4 decays. The scale `small` is
for one core and an hour, and below the tasks' own small scale: networks of 4 channels in the first convolution, some
1,000 examples, 25 epochs (`tiny` in `src/curvestep/bench/tasks`), and a grid of 7 rates by 2 decays. Of the source's
14 rates, {1, 5}·10ⁿ from 1e-5 to 50, SGD's kin is given the seven from 0.01 to 10, and what divides by a root of
squares the seven from 1e-5 to 0.01. The decay of 0.9 falls as far over 25 epochs as the source's 0.99 does over 250.

The grid `coarse` is for one core too: of a scale's grid every other rate and every other decay, 1 among them, and the
pair is chosen after a tenth of the epochs instead of a fifth. For MNIST at the scale `paper` that is 5·10ⁿ from 5e-5 to
50, decays of 0.98 and 1, and 20 epochs instead of 40: 14 short runs instead of 56.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, final

from curvestep.bench.config import RunConfig
from curvestep.bench.settings import LR_GRID, Wish, run_config

ScaleName = Literal["small", "paper"]
SCALES: tuple[ScaleName, ...] = ("small", "paper")
GridName = Literal["whole", "coarse"]
GRIDS: tuple[GridName, ...] = ("whole", "coarse")
Quantity = Literal["loss", "step", "test_loss", "accuracy", "descent"]
FigureName = Literal["fig2", "fig3", "fig4", "fig5", "fig6", "fig7", "fig8", "fig9"]

SEEDS = 3
#: Share of the epochs after which a rate and its decay are chosen, and that of the coarse grid.
TUNING_SHARE, COARSE_SHARE = 0.2, 0.1
#: A tuning run whose average batch loss is above so many times its first one is over, and is a miss.
GIVE_UP = 10.0

_FAST, _SLOW = LR_GRID[6:13], LR_GRID[:7]
_MINE = ("mnist-lenet", "mnist-autoencoder", "cifar10-vgg11", "cifar100-vgg19")
# What the source's first layer of figures is measured with.
_ALL: tuple[Quantity, ...] = ("loss", "step", "test_loss", "accuracy")


@final
@dataclass(frozen=True)
class Line:
    """One line of a panel: a method on a task, three seeds.

    Args:
        label: as the legend says it.
        method: name.
        wish: task, lengths, batch and λ.
        rates: the grid of τ₀; empty for a method that takes none.
        decays: the grid of d.
        share: of the epochs after which the pair is chosen.
    """

    label: str
    method: str
    wish: Wish
    rates: tuple[float, ...] = ()
    decays: tuple[float, ...] = (1.0,)
    share: float = TUNING_SHARE

    @property
    def tuned(self) -> bool:
        """Whether there is a grid."""
        return bool(self.rates)

    @property
    def tuning_epochs(self) -> int:
        """Length of a tuning run."""
        return max(1, round(self.share * run_config(self.wish, self.method, self._some_rate, 0).epochs))

    def tuning(self) -> tuple[RunConfig, ...]:
        """The tuning runs, a pair (τ₀, d) each, with the first seed; none without a grid."""
        short = replace(self.wish, epochs=self.tuning_epochs)
        return tuple(
            run_config(replace(short, decay=decay), self.method, rate, 0)
            for decay in self.decays
            for rate in self.rates
        )

    def runs(self, chosen: RunConfig | None = None) -> tuple[RunConfig, ...]:
        """The runs to the end, one a seed.

        Args:
            chosen: the tuning run whose rate and decay they have; None without a grid.

        Returns:
            Their settings.
        """
        rate, decay = (None, 1.0) if chosen is None else (chosen.lr, chosen.decay)
        wish = replace(self.wish, decay=decay)
        return tuple(run_config(wish, self.method, rate, seed) for seed in range(SEEDS))

    @property
    def _some_rate(self) -> float | None:
        return self.rates[0] if self.rates else None


@final
@dataclass(frozen=True)
class Panel:
    """A column of a figure.

    Args:
        title: above it.
        lines: what is drawn.
        marks: epochs at which a vertical line stands.
    """

    title: str
    lines: tuple[Line, ...]
    marks: tuple[float, ...] = ()


@final
@dataclass(frozen=True)
class Figure:
    """A figure of the source.

    Args:
        name: as the command calls it.
        title: what it shows.
        claim: what the source reads off it.
        panels: its columns.
        quantities: its rows.
    """

    name: FigureName
    title: str
    claim: str
    panels: tuple[Panel, ...]
    quantities: tuple[Quantity, ...] = _ALL


FIGURES: tuple[FigureName, ...] = ("fig2", "fig3", "fig4", "fig5", "fig6", "fig7", "fig8", "fig9")
#: What the command takes: the figures, and the table of seconds.
NAMES: tuple[str, ...] = (*FIGURES, "table3")


def figures(scale: ScaleName, device: str = "cpu", grid: GridName = "whole") -> dict[str, Figure]:
    """All figures at a scale.

    Args:
        scale: which.
        device: where torch computes; runs on another device are other runs.
        grid: of rates and decays.

    Returns:
        Name → figure.
    """
    made = (_fig2(scale), _fig3(scale), _fig4(scale), _fig5(scale), _fig6(scale), _fig7(scale), _fig8(scale))
    return {figure.name: _on(device, grid, figure) for figure in (*made, _fig9(scale))}


def _on(device: str, grid: GridName, figure: Figure) -> Figure:
    """The figure with its runs on a device, and with a grid."""
    panels = tuple(
        replace(panel, lines=tuple(_gridded(grid, _placed(device, line)) for line in panel.lines))
        for panel in figure.panels
    )
    return replace(figure, panels=panels)


def _placed(device: str, line: Line) -> Line:
    """The line on a device."""
    return replace(line, wish=replace(line.wish, device=device))


def _gridded(grid: GridName, line: Line) -> Line:
    """The line with its grid, or with every other rate and decay of it, the last decay among them."""
    if grid == "whole" or not line.tuned:
        return line
    return replace(line, rates=line.rates[1::2], decays=line.decays[::-2][::-1], share=COARSE_SHARE)


def _wish(task: str, scale: ScaleName, **changes: float) -> Wish:
    """A task at a scale of this plan."""
    own = "paper" if scale == "paper" else "small" if task.startswith("linear-probe") else "tiny"
    return replace(Wish(task, scale=own), **changes)


def _free(method: str, wish: Wish, label: str = "") -> Line:
    """A method that takes no rate."""
    return Line(label or method, method, wish)


def _tuned(method: str, wish: Wish, *, slow: bool = False, scheduled: bool = True) -> Line:
    """A method with a rate, and the grid for it."""
    if wish.scale == "paper":
        decays = (0.97, 0.98, 0.99, 1.0) if wish.task == "mnist-lenet" else (0.99, 0.995, 1.0)
        return Line(method, method, wish, LR_GRID, decays if scheduled else (1.0,))
    return Line(method, method, wish, _SLOW if slow else _FAST, (0.9, 1.0) if scheduled else (1.0,))


def _standard(wish: Wish) -> tuple[Line, ...]:
    """RED, what it is compared with, and Auto and AdamW beside them."""
    return (
        _free("red-sgd", wish),
        _free("red-rmsprop", wish),
        _tuned("sgd", wish),
        _tuned("rmsprop", wish, slow=True),
        _free("auto", wish),
        _tuned("adamw", wish, slow=True),
    )


def _fig2(scale: ScaleName) -> Figure:
    """RED and tuned baselines on four tasks."""
    return Figure(
        "fig2",
        "RED beside tuned SGD and RMSprop",
        "RED, with nothing to tune, is competitive in training loss with the tuned methods, and its step grows in the "
        "first epochs.",
        tuple(Panel(task, _standard(_wish(task, scale))) for task in _MINE),
    )


def _fig3(scale: ScaleName) -> Figure:
    """RAn and RED."""
    panels: list[Panel] = []
    for task in ("cifar10-vgg11", "cifar100-vgg19"):
        wish = _wish(task, scale)
        epochs = run_config(wish, "red-sgd", None, 0).epochs
        marks = tuple(float(start) for start in range(18, epochs, 20))
        methods = ("red-sgd", "red-rmsprop", "ran-sgd", "ran-rmsprop", "auto")
        panels.append(Panel(task, (*(_free(each, wish) for each in methods), _tuned("adamw", wish, slow=True)), marks))
    return Figure(
        "fig3",
        "RAn, whose ℓ goes 1, ½, 2, beside RED",
        "The training loss rises while ℓ = 2 (two epochs from each grey line on) and not while ℓ ≤ 1.",
        tuple(panels),
    )


def probe_batches(scale: ScaleName) -> tuple[int, ...]:
    """Batches of the linear probe.

    Args:
        scale: at `paper` 1K to 16K, for a thousand classes; at `small` as many for each of a hundred.

    Returns:
        The sizes.
    """
    return (1024, 2048, 4096, 8192, 16384) if scale == "paper" else (64, 128, 256, 512, 1024)


def _fig4(scale: ScaleName) -> Figure:
    """The linear probe."""
    variants = (
        ("plain", "linear-probe", "half-sgd"),
        ("augmented, smoothed labels", "linear-probe-tricks", "half-sgd"),
        ("the same, and ℓ along a cosine", "linear-probe-tricks", "half-sgd-cosine"),
    )
    panels: list[Panel] = []
    for title, task, method in variants:
        wish = _wish(task, scale)
        lines = [_free(method, replace(wish, batch_size=size), f"batch {size}") for size in probe_batches(scale)]
        most = replace(wish, batch_size=probe_batches(scale)[2])
        lines += [_free("auto", most, f"auto, batch {most.batch_size}")]
        adamw = _tuned("adamw", most, slow=True)
        lines += [replace(adamw, label=f"adamw, batch {most.batch_size}")]
        panels.append(Panel(title, tuple(lines)))
    return Figure(
        "fig4",
        "A linear classifier on frozen features, with batches of five sizes",
        "At ℓ = ½ small batches make the loss oscillate and stop at a lower accuracy; augmentation and smoothing "
        "change little; a cosine of ℓ lets small batches converge and is needless for large ones.",
        tuple(panels),
    )


def _fig5(scale: ScaleName) -> Figure:
    """β₃."""
    wish = _wish("cifar10-vgg11", scale)
    lines = (
        _free("red-sgd-0", wish, "β₃ = 0"),
        _free("red-sgd-0.5", wish, "β₃ = 0.5"),
        _free("red-sgd", wish, "β₃ = 0.9"),
        _free("red-sgd-0.99", wish, "β₃ = 0.99"),
        _free("auto", wish),
        _tuned("adamw", wish, slow=True),
    )
    return Figure(
        "fig5",
        "The average of the curvature, RED-SGD",
        "β₃ = 0 is unstable; β₃ in [0.5, 0.99] matters little.",
        (Panel("cifar10-vgg11", lines),),
    )


def _fig6(scale: ScaleName) -> Figure:
    """Momentum."""
    wish = _wish("cifar100-vgg19", scale)
    beside = (
        _tuned("sgd-momentum", wish),
        _tuned("adam-momentum", wish, slow=True),
        _free("auto", wish),
        _tuned("adamw", wish, slow=True),
    )
    first = (_free("red-sgd-heavy", wish), _free("red-adam-heavy", wish), *beside)
    second = (_free("red-sgd-momentum", wish), _free("red-adam-tenth", wish), *beside)
    return Figure(
        "fig6",
        "Momentum of 0.9 with ℓ from 1 and from 1 − β₁",
        "From ℓ = 1 RED struggles and goes along directions that do not descend; from ℓ = 0.1 it is stable and always "
        "descends, and explores less.",
        (Panel("ℓ from 1", first), Panel("ℓ from 0.1", second)),
        (*_ALL, "descent"),
    )


def _fig7(scale: ScaleName) -> Figure:
    """Small batches, with and without a memory of features."""
    sizes = {
        "cifar10-vgg11": (256, 64, 16, 8, 4) if scale == "paper" else (64, 16, 8, 4),
        "cifar100-vgg19": (256, 128, 64, 32, 16) if scale == "paper" else (128, 32, 8),
    }
    length = {"epochs": 100} if scale == "paper" else {"epochs": 5, "subset": 640}
    panels: list[Panel] = []
    for task, batches in sizes.items():
        for name, title in ((task, task), (f"{task}-memory", f"{task}, memory of 256")):
            wishes = [replace(_wish(name, scale, **length), batch_size=size) for size in batches]
            lines = [_free("red-sgd", wish, f"batch {wish.batch_size}") for wish in wishes]
            lines += [_free("auto", wishes[-1], f"auto, batch {batches[-1]}")]
            panels.append(Panel(title, tuple(lines)))
    return Figure(
        "fig7",
        "Smaller batches, without and with a memory of features",
        "RED collapses where the batch has fewer examples than there are classes (10, 100); the memory mends it in "
        "part.",
        tuple(panels),
    )


def _fig8(scale: ScaleName) -> Figure:
    """λ."""
    wishes = [_wish("cifar10-vgg11", scale, weight_decay=value) for value in (1e-7, 1e-4)]
    return Figure(
        "fig8",
        "Two strengths of the L2 term",
        "RED converges well with λ = 1e-7: a larger one is not needed.",
        tuple(Panel(f"cifar10-vgg11, λ = {wish.weight_decay:g}", _standard(wish)) for wish in wishes),
    )


def _fig9(scale: ScaleName) -> Figure:
    """Step-Tuned SGD and a Robbins–Monro schedule."""
    panels: list[Panel] = []
    for task in ("cifar10-vgg11", "mnist-autoencoder"):
        for value in (1e-7, 1e-4):
            wish = _wish(task, scale, weight_decay=value)
            lines = (
                _free("red-sgd", wish),
                _tuned("sgd", wish),
                _tuned("step-tuned", wish, scheduled=False),
                _tuned("sgd-robbins-monro", wish, scheduled=False),
                _free("auto", wish),
                _tuned("adamw", wish, slow=True),
            )
            panels.append(Panel(f"{task}, λ = {value:g}", lines))
    return Figure(
        "fig9",
        "RED beside Step-Tuned SGD and a Robbins–Monro schedule",
        "Step-Tuned SGD, whose rate was tuned for it, is ahead in training loss alone.",
        tuple(panels),
    )


# -- what the store says of the plan ----------------------------------------------------------------------------------


def all_lines(wanted: tuple[Figure, ...]) -> tuple[Line, ...]:
    """The lines of some figures, each once.

    Args:
        wanted: the figures.

    Returns:
        Their lines, in order.
    """
    return tuple(dict.fromkeys(line for figure in wanted for panel in figure.panels for line in panel.lines))
