"""The layers of docs/architecture.md: imports only go down, and no file imports itself by a detour.

Two kinds of check. The first reads every import statement, those inside functions and under TYPE_CHECKING too, because
a cycle of ideas is one even when Python can run it: between the parts of the package, between the floors of the
engine, and between files. The second starts fresh interpreters and looks at what was loaded.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "src" / "curvestep"

# The parts of the package, a part being a folder or a file directly under src/curvestep, and the layer of each.
LAYERS = {
    "_errors": 0,
    "_numerics": 0,
    "_probe": 0,
    "_records": 0,
    "_shards": 0,
    "_warn": 0,
    "_window": 0,
    "engine": 1,
    "directions": 2,
    "schedules": 2,
    "steprules": 2,
    "optim": 3,
    "diagnostics": 4,
    "integrations": 4,
    "nn": 4,
    "testing": 4,
    "__init__": 4.5,  # the public names: everything below is collected here, everything above uses it as a user does
    "bench": 5,
    "report": 6,
    "cli": 7,
    "__main__": 8,
}

# The same inside engine/: the folders and files there. A file may import those of its own floor, but never in a circle.
FLOORS = {"data": 0, "rules": 1, "recording": 2, "passes": 3, "tape": 4, "record": 5, "__init__": 6}


def part_of(module: str) -> str:
    """The part that a dotted module name belongs to: `curvestep.engine.tape` → `engine`, `curvestep` → `__init__`."""
    pieces = module.split(".")
    return pieces[1] if len(pieces) > 1 else "__init__"


def module_name(path: Path, package: Path) -> str:
    """The dotted name of a source file."""
    pieces = ["curvestep", *path.relative_to(package).with_suffix("").parts]
    return ".".join(pieces[:-1] if pieces[-1] == "__init__" else pieces)


def imported_modules(source: str, module: str, is_package: bool, modules: set[str]) -> list[tuple[int, str]]:
    """Every (line, module of curvestep) that the source of `module` imports, relative imports resolved."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                here = module.split(".")
                here = here[: len(here) - node.level + (1 if is_package else 0)]
                base = ".".join([*here, base] if base else here)
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                found.append((node.lineno, inner if inner in modules else base))
    return [(line, name) for line, name in found if name == "curvestep" or name.startswith("curvestep.")]


def imports_under(package: Path) -> dict[str, list[tuple[int, str]]]:
    """What every module under `package` imports of it."""
    files = {module_name(path, package): path for path in sorted(package.rglob("*.py"))}
    return {
        module: imported_modules(path.read_text(encoding="utf-8"), module, path.name == "__init__.py", set(files))
        for module, path in files.items()
    }


def floor_of(module: str) -> str:
    """The floor that a module of the engine lies on: `curvestep.engine.data.value` → `data`."""
    pieces = module.split(".")
    return pieces[2] if len(pieces) > 2 else "__init__"


def violations(package: Path) -> list[str]:
    """Every import under `package` that does not go down a layer, or a floor of the engine, as sentences."""
    problems = []
    for module, imports in imports_under(package).items():
        part = part_of(module)
        if part not in LAYERS:
            problems.append(f"{module} is in no layer: add {part} to LAYERS and to docs/architecture.md.")
            continue
        if part == "engine" and floor_of(module) not in FLOORS:
            problems.append(f"{module} is on no floor: add {floor_of(module)} to FLOORS and to engine/README.md.")
            continue
        for line, target in imports:
            other = part_of(target)
            if other != part and LAYERS.get(other, 99) >= LAYERS[part]:
                problems.append(f"{module}:{line} imports {target}: {part} may only use layers below its own.")
            if part == other == "engine":
                own, below = floor_of(module), floor_of(target)
                if own != below and FLOORS.get(below, 99) >= FLOORS[own]:
                    problems.append(f"{module}:{line} imports {target}: {own} may only use floors below its own.")
    return problems


def circles(package: Path) -> list[set[str]]:
    """The sets of modules under `package` that import each other in a circle."""
    imports = {module: {target for _, target in found} for module, found in imports_under(package).items()}
    reached: dict[str, set[str]] = {}
    for module in imports:
        reached[module] = set()
        waiting = [module]
        while waiting:
            for target in imports.get(waiting.pop(), ()):
                if target not in reached[module]:
                    reached[module].add(target)
                    waiting.append(target)
    found: list[set[str]] = []
    for module in imports:
        ring = {other for other in reached[module] if module in reached.get(other, ())}
        if ring and ring not in found:
            found.append(ring)
    return found


def test_imports_only_go_down() -> None:
    assert violations(PACKAGE) == []


def test_no_files_import_each_other_in_a_circle() -> None:
    assert circles(PACKAGE) == []


@pytest.mark.parametrize(
    ("place", "source"),
    [
        pytest.param("engine/tape.py", "from curvestep.optim import shell", id="up"),
        pytest.param("engine/tape.py", "from ..optim.shell import step", id="up, relative"),
        pytest.param("directions/momentum.py", "def f():\n    import curvestep.steprules.ren", id="sibling, lazily"),
        pytest.param("optim/shell.py", "from curvestep import record", id="through the public names"),
        pytest.param("_probe.py", "from . import _records", id="sibling file"),
        pytest.param("novelty/thing.py", "import math", id="no layer"),
        pytest.param("engine/novelty.py", "import math", id="no floor"),
        pytest.param("engine/data/value.py", "from curvestep.engine.rules import row", id="up a floor"),
        pytest.param(
            "engine/rules/row.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..tape import Tape",
            id="up a floor, for types",
        ),
        pytest.param("engine/recording/facts.py", "def f():\n    import curvestep.engine.passes", id="up, lazily"),
    ],
)
def test_the_check_refuses(tmp_path: Path, place: str, source: str) -> None:
    """A planted violation is found, so an empty list above means something."""
    present = (
        "__init__.py", "optim/__init__.py", "optim/shell.py", "_records.py", "steprules/ren.py", "engine/tape.py",
        "engine/rules/row.py", "engine/passes/__init__.py",
    )  # fmt: skip
    for part in present:
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / part).touch()
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).write_text(source, encoding="utf-8")
    assert len(violations(tmp_path)) == 1


def test_the_check_finds_a_circle(tmp_path: Path) -> None:
    (tmp_path / "optim").mkdir()
    for name, source in (
        ("first", "def f():\n    from curvestep.optim import second"),
        ("second", "from .third import thing"),
        ("third", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import curvestep.optim.first"),
        ("apart", "import curvestep.optim.first"),
    ):
        (tmp_path / "optim" / f"{name}.py").write_text(source, encoding="utf-8")
    assert circles(tmp_path) == [{f"curvestep.optim.{name}" for name in ("first", "second", "third")}]


def loaded_after(code: str) -> set[str]:
    """Run `code` in a fresh interpreter and return the top-level modules loaded by then, standard library left out."""
    script = f"{code}\nimport json, sys\nprint(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1])) - set(sys.stdlib_module_names)


# Makes every installed package unimportable but those that torch and numpy themselves require.
HIDE_THE_REST = """
import importlib.metadata as metadata, re, sys

def plain(name):
    return re.split(r"[^\\w.-]", name, maxsplit=1)[0].lower().replace("_", "-")

kept, waiting = {"curvestep"}, ["torch", "numpy"]
while waiting:
    name = waiting.pop()
    if name not in kept:
        kept.add(name)
        try:
            wanted = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # needed on another platform only
        waiting += [plain(each) for each in wanted if "extra ==" not in each]
hidden = {
    top for top, owners in metadata.packages_distributions().items() if not kept & {plain(owner) for owner in owners}
}

class Hide:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"{name} is hidden: the library may need torch and numpy only.", name=name)

sys.meta_path.insert(0, Hide)
"""


def test_the_library_needs_torch_and_numpy_only() -> None:
    """Every public name is touched, so names that load on first use count as well."""
    touch = "import curvestep\nfor name in curvestep.__all__: getattr(curvestep, name)"
    loaded = loaded_after(HIDE_THE_REST + touch)
    assert {"torch", "numpy"} <= loaded
    assert loaded.isdisjoint({"typer", "rich", "datasets", "matplotlib", "sklearn"})


def test_the_hidden_packages_are_those_of_the_command_line() -> None:
    """The check above means something: the extras really cannot be imported under it."""
    for name in ("typer", "rich", "datasets", "matplotlib", "sklearn", "PIL"):
        with pytest.raises(AssertionError, match=f"{name} is hidden"):
            loaded_after(HIDE_THE_REST + f"import {name}")


def walk(part: str) -> str:
    """Code that imports a part with every module inside it."""
    return (
        f"import importlib, pkgutil\npart = importlib.import_module('curvestep.{part}')\n"
        "for found in pkgutil.walk_packages(part.__path__, part.__name__ + '.'): importlib.import_module(found.name)"
    )


def test_the_report_reads_the_store_without_torch() -> None:
    assert "torch" not in loaded_after(walk("report"))


@pytest.mark.parametrize("command", [[], ["train"], ["compare"]], ids=["top", "train", "compare"])
def test_help_comes_without_torch(command: list[str]) -> None:
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['curvestep', *{command!r}, '--help']\n"
        "try:\n    runpy.run_module('curvestep', run_name='__main__')\n"
        "except SystemExit as stop:\n    assert not stop.code, stop.code"
    )
    assert loaded_after(code).isdisjoint({"torch", "datasets", "sklearn", "matplotlib"})
