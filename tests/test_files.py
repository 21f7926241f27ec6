"""House rules that hold for every source file, whatever it computes."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "curvestep"
SOURCES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

LONGEST, LONGEST_TEST = 400, 600
CATCH_ALL_NAMES = {"utils.py", "util.py", "helpers.py", "misc.py", "common.py"}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def keyword_sinks(source: str) -> list[str]:
    """Name the constructors of public classes, and the public functions, that take `**anything`.

    A sink accepts a misspelt option in silence. Methods other than the constructor are left out: some
    have to take what the torch method that they override takes.
    """
    found = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            found += [
                f"{node.name}.{method.name}"
                for method in node.body
                if isinstance(method, ast.FunctionDef) and method.name in {"__init__", "__new__"} and method.args.kwarg
            ]
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and node.args.kwarg:
            found.append(node.name)
    return found


def test_there_are_sources() -> None:
    assert PACKAGE / "__init__.py" in SOURCES


@pytest.mark.parametrize("path", SOURCES + TESTS, ids=relative)
def test_no_file_is_too_long(path: Path) -> None:
    lines, most = len(path.read_text(encoding="utf-8").splitlines()), LONGEST if path in SOURCES else LONGEST_TEST
    assert lines <= most, f"{relative(path)} has {lines} lines; split it by concept (at most {most})."


@pytest.mark.parametrize("path", SOURCES + TESTS, ids=relative)
def test_no_file_collects_leftovers(path: Path) -> None:
    assert path.name not in CATCH_ALL_NAMES, f"Name {relative(path)} after what it holds."


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_no_public_constructor_swallows_keywords(path: Path) -> None:
    sinks = keyword_sinks(path.read_text(encoding="utf-8"))
    assert not sinks, f"{relative(path)}: {', '.join(sinks)} takes **keywords and so accepts any misspelt option."


def test_the_check_for_sinks_finds_one() -> None:
    source = (
        "class Public:\n    def __init__(self, **options): ...\nclass _Private:\n    def __init__(self, **o): ...\n"
    )
    assert keyword_sinks(source) == ["Public.__init__"]
    assert keyword_sinks("def rule(a, **rest): ...\ndef _rule(**rest): ...\n") == ["rule"]
