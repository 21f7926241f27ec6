"""Build the wheel, install it away from the checkout, and use it there: `make wheel-test`.

An editable install sees every file of the checkout. The wheel holds what users get, so a module or marker file that the
build leaves out shows only here. Nothing is downloaded: the build tools and the dependencies are those of .venv.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Run in a temporary folder with the unpacked wheel ahead of the editable install on the path.
SMOKE = """
import importlib, pathlib, pkgutil, sys
import torch
import curvestep

site = pathlib.Path(sys.argv[1])
assert pathlib.Path(curvestep.__file__).is_relative_to(site), curvestep.__file__
for found in pkgutil.walk_packages(curvestep.__path__, "curvestep."):
    if not found.name.endswith("__main__"):
        module = importlib.import_module(found.name)
        assert pathlib.Path(module.__file__).is_relative_to(site), module.__file__

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
inputs, targets = torch.randn(32, 4), torch.randint(3, (32,))
optimizer = curvestep.RescaledSGD(model.parameters(), lr=0.5)
losses = []
for _ in range(20):
    optimizer.zero_grad()
    with optimizer.record():
        loss = torch.nn.functional.cross_entropy(model(inputs), targets)
        loss.backward()
    optimizer.step()
    losses.append(loss.item())
assert losses[-1] < 0.9 * losses[0], losses
print(f"{curvestep.__version__} from the wheel: loss {losses[0]:.3f} -> {losses[-1]:.3f} in {len(losses)} steps")
"""


# Every command of the bench extra, in an empty folder, with the texts that it must print; needs no data set.
COMMANDS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("--help",), "Usage"),
    (("--version",), "curvestep"),
    (("tasks",), "digits-mlp"),
    (("methods",), "red-sgd"),
    (("train", "digits-mlp", "--method", "auto", "--scale", "small", "--steps", "12", "--threads", "1"), "runs.jsonl"),
    (
        (
            *("compare", "digits-mlp", "--methods", "red-sgd,sgd", "--lrs", "0.1", "--seeds", "2", "--scale", "small"),
            *("--steps", "12", "--threads", "1", "--jobs", "2"),
        ),
        "runs.jsonl",
    ),
    (("report", "runs"), "Figure"),
    (("demo", "--seeds", "1", "--jobs", "2"), "digits-mlp"),
    (("doctor", "mine:example", "--no-measure"), "covered"),
)
MODEL = """
import torch

def example():
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    batch = torch.randn(32, 4), torch.randint(3, (32,))
    return model, batch, lambda model, batch: torch.nn.functional.cross_entropy(model(batch[0]), batch[1])
"""


def main() -> None:
    """Raise if the wheel cannot be built, is incomplete, holds more than the package, or does not work."""
    with tempfile.TemporaryDirectory() as folder:
        build, site, elsewhere = (Path(folder, name) for name in ("wheel", "site", "elsewhere"))
        elsewhere.mkdir()
        subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(build)], cwd=ROOT, check=True
        )
        (wheel,) = build.glob("*.whl")
        packed = set(zipfile.ZipFile(wheel).namelist())
        sources = [*(ROOT / "src").rglob("*.py"), *(ROOT / "src").rglob("py.typed")]
        missing = {path.relative_to(ROOT / "src").as_posix() for path in sources} - packed
        assert not missing, f"The wheel leaves out {sorted(missing)}."
        more = [name for name in packed if not name.startswith(("curvestep/", "curvestep-"))]
        assert not more, f"The wheel holds more than the package: {more}."

        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site)]
        subprocess.run([*pip, str(wheel)], check=True)
        environment = os.environ | {"PYTHONPATH": str(site)}
        script = elsewhere / "smoke.py"
        script.write_text(SMOKE, encoding="utf-8")
        subprocess.run([sys.executable, str(script), str(site)], cwd=elsewhere, env=environment, check=True)
        (elsewhere / "mine.py").write_text(MODEL, encoding="utf-8")
        for arguments, text in COMMANDS:
            command = [sys.executable, "-m", "curvestep", *arguments]
            done = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True)
            said = done.stdout + done.stderr
            assert done.returncode == 0 and text in said, f"curvestep {' '.join(arguments)}: {said}"
            print(f"curvestep {arguments[0]}: works")


if __name__ == "__main__":
    main()
