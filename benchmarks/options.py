"""The options that several commands share, each with its one sentence of help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Render = Annotated[bool, typer.Option("--render", help="Measure nothing; write the page from the store.")]
Afresh = Annotated[bool, typer.Option("--afresh", help="Measure again what is in the store.")]
Out = Annotated[Path, typer.Option(help="Folder of the store.", show_default=False)]
Page = Annotated[Path, typer.Option(help="The page to write.", show_default=False)]
Jobs = Annotated[int, typer.Option(help="Runs at a time; their seconds disturb each other.")]
Only = Annotated[str, typer.Option(help="Only these parts, separated by commas.")]
