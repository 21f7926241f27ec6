"""The options that several commands share, each with its one sentence of help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Epochs = Annotated[int | None, typer.Option(help="Length of a run in epochs. [default: the task's]")]
Steps = Annotated[int | None, typer.Option(help="Length of a run in steps, instead of --epochs.")]
BatchSize = Annotated[int | None, typer.Option(help="Examples in a batch. [default: the task's]")]
ScaleName = Annotated[
    str | None,
    typer.Option(
        "--scale",
        help="small: minutes on a laptop; paper: the source's numbers, hours. [default: small, of digits-mlp paper]",
        show_default=False,
    ),
]
Subset = Annotated[int | None, typer.Option(help="Train on the first N examples, test on at most as many.")]
Decay = Annotated[float, typer.Option(help="Factor on the learning rate after each epoch.")]
ScheduleName = Annotated[str, typer.Option("--schedule", help="Of the learning rate: exponential or cosine.")]
Warmup = Annotated[int, typer.Option(help="Steps of linear warm-up before the cosine.")]
WeightDecay = Annotated[float, typer.Option(help="λ of the term λ/2·‖θ‖² (adamw: decoupled).")]
Device = Annotated[str, typer.Option(help="Where torch computes: cpu, cuda, cuda:1, mps.")]
DataDir = Annotated[
    Path | None,
    typer.Option(
        help="Folder with mnist/, cifar10/, cifar100/ or tinyshakespeare/input.txt. [default: the variable "
        "CURVESTEP_DATA, else the hub]"
    ),
]
Threads = Annotated[int | None, typer.Option(help="Threads of torch. [default: torch's choice]")]
Out = Annotated[Path, typer.Option(help="Folder of the run store and its figures.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
Afresh = Annotated[bool, typer.Option("--afresh", help="Do again what is in the store.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]
