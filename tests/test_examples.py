"""Every file of examples/ runs to its end and reaches what it is there to show."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "examples"


@dataclass(frozen=True)
class Example:
    """A file, shorter arguments than its own, and the interval in which what `main` returns has to lie."""

    file: str
    arguments: str
    least: float
    most: float
    needs: tuple[str, ...] = ()


# Accuracies of 0.1 and losses of ln 10 or ln 12 are those of a network that has learnt nothing.
EXAMPLES = [
    Example("plain_loop.py", "--epochs 10", 0.93, 1.0, ("sklearn",)),
    Example("batch_norm.py", "--epochs 4", 0.0, 0.6, ("sklearn",)),
    Example("fine_tuning.py", "--steps 150", 0.8, 1.0, ("sklearn",)),
    Example("accumulation_amp.py", "--steps 120", 0.9, 1.0, ("sklearn",)),
    Example("checkpoint.py", "--steps 120", 0.0, 0.0),
    Example("gpt.py", "--steps 120", 0.0, 2.0),
    Example("diagnose_adamw.py", "--steps 100", 1.0, 1000.0, ("sklearn",)),
    Example("physics.py", "--steps 200", 0.0, 0.01),
    Example("accelerate_loop.py", "--epochs 6", 0.9, 1.0, ("sklearn", "accelerate")),
    Example("lightning_module.py", "--epochs 6", 0.85, 1.0, ("sklearn", "lightning")),
    Example("hf_trainer.py", "--steps 200", 0.85, 1.0, ("transformers", "accelerate")),
]
# Launched by torchrun on two processes: file → what it says at its end.
LAUNCHED = {
    "ddp.py": "on 2 processes, all with the same parameters",
    "fsdp.py": "on 2 processes, each with its part of the parameters; the checkpoint gives them back",
}


@pytest.mark.parametrize("example", EXAMPLES, ids=[each.file for each in EXAMPLES])
def test_it_reaches_what_it_shows(example: Example) -> None:
    for package in example.needs:
        pytest.importorskip(package)
    spec = importlib.util.spec_from_file_location(f"example_{example.file.removesuffix('.py')}", FOLDER / example.file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert example.least <= module.main(example.arguments.split()) <= example.most


@pytest.mark.dist
@pytest.mark.parametrize("file", LAUNCHED)
def test_two_processes_end_as_they_should(file: str) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [*command, str(FOLDER / file), "--steps", "40"], env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    assert LAUNCHED[file] in ended.stdout


def test_every_example_is_run_and_in_the_table() -> None:
    files = {path.name for path in FOLDER.glob("*.py")}
    assert files == {each.file for each in EXAMPLES} | LAUNCHED.keys()
    table = re.findall(
        r"^\| \[(\w+\.py)\]\((\w+\.py)\)", (FOLDER / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert {name for name, _ in table} == {target for _, target in table} == files
