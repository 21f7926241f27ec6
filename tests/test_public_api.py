"""The public names: they exist, are documented as the house template says, and docs/api/ shows just them."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch

import curvestep

ROOT = Path(__file__).resolve().parent.parent


sys.path.insert(0, str(ROOT / "docs" / "site"))

import public_names as api  # noqa: E402

PUBLIC = dict(api.public_names())
CALLABLES = {name: value for name, value in PUBLIC.items() if api.kind_of(value) in {"class", "function"}}


def section(docstring: str, *titles: str) -> str | None:
    """The text of the first of the headings that is there, on its line and indented under it, or None."""
    for title in titles:
        match = re.search(rf"^{title}:(.*\n?(?:[ \t]+.*\n?|\n)*)", docstring, flags=re.MULTILINE)
        if match and match.group(1).strip():
            return match.group(1)
    return None


def is_built_by_users(value: Any) -> bool:
    """Whether users call it: a function, or an optimizer."""
    return not inspect.isclass(value) or issubclass(value, torch.optim.Optimizer)


def all_groups(source: str) -> list[list[str]]:
    """The names of `__all__`, in the groups that comment lines inside the list make."""
    for node in ast.parse(source).body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            groups: list[list[str]] = [[]]
            for line in source.splitlines()[node.lineno - 1 : node.end_lineno]:
                if line.strip().startswith("#"):
                    groups.append([])
                else:
                    groups[-1] += re.findall(r'"(\w+)"', line)
            return [group for group in groups if group]
    raise AssertionError("curvestep/__init__.py assigns no list to __all__.")


def test_all_is_sorted_within_its_groups() -> None:
    groups = all_groups(Path(curvestep.__file__).read_text(encoding="utf-8"))
    assert [name for group in groups for name in group] == list(curvestep.__all__)
    for group in groups:
        assert group == sorted(group, key=str.casefold)
    assert len(set(curvestep.__all__)) == len(curvestep.__all__)


def test_nothing_public_is_left_out_of_all() -> None:
    """An object of this package that `curvestep.NAME` reaches without an underscore is in `__all__`."""
    reached = {
        name
        for name, value in vars(curvestep).items()
        if not name.startswith("_") and (getattr(value, "__module__", None) or "").startswith("curvestep")
    }
    assert reached <= set(curvestep.__all__)


def test_the_version_is_that_of_the_installed_package() -> None:
    assert curvestep.__version__ == version("curvestep")


def test_the_pages_show_the_public_names() -> None:
    curvestep.RescaledSGD(
        [torch.zeros(1, requires_grad=True)]
    )  # torch then wraps `step`, which must not change what is public
    pages = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs" / "api").glob("*.md")))
    hidden = {name for name, value in PUBLIC.items() if api.kind_of(value) == "namespace"} | {"curvestep.__version__"}
    assert sorted(api.shown(pages)) == sorted(set(PUBLIC) - hidden)


@pytest.mark.parametrize("entry", api.entries(), ids=lambda entry: entry.name)
def test_every_name_method_and_argument_has_text(entry: Any) -> None:
    """Those of all public namespaces, and the methods that public classes have from private bases."""
    assert not entry.undocumented(), f"No docstring or comment describes {', '.join(entry.undocumented())}."


def test_a_name_a_method_or_an_argument_without_text_is_found() -> None:
    """A planted class with a described argument, one without text, and a method of each kind."""

    class Planted:
        """A class.

        Args:
            told: Described.
        """

        def __init__(self, told: int, silent: int) -> None: ...

        def method(self, argument: int) -> None:
            """Do nothing."""

        @property
        def value(self) -> int:
            return 0

    found = api.entry_of("curvestep.Planted", Planted).undocumented()
    assert found == ["curvestep.Planted(silent)", "Planted.method(argument)", "Planted.value"]


@pytest.mark.parametrize("namespace", ["directions", "nn", "schedules", "steprules", "testing"])
def test_a_namespace_lists_just_what_it_exports(namespace: str) -> None:
    module = getattr(curvestep, namespace)
    exported = re.findall(r" as (\w+)$", Path(module.__file__).read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(exported) == sorted(module.__all__)


@pytest.mark.parametrize("name", [name for name in PUBLIC if api.kind_of(PUBLIC[name]) not in {"constant", "type"}])
def test_there_is_a_one_line_summary(name: str) -> None:
    docstring = PUBLIC[name].__doc__
    assert docstring, f"{name} has no docstring."
    first = docstring.strip().splitlines()[0]
    assert first.endswith("."), f"{name}: the docstring must open with one line that is a sentence, not {first!r}."


@pytest.mark.parametrize("name", [name for name, value in CALLABLES.items() if is_built_by_users(value)])
def test_every_argument_is_described(name: str) -> None:
    described = section(inspect.getdoc(CALLABLES[name]) or "", "Args") or ""
    signature = [parameter for parameter in inspect.signature(CALLABLES[name]).parameters if parameter != "self"]
    missing = [each for each in signature if not re.search(rf"^\s+\*{{0,2}}{each}\b", described, re.MULTILINE)]
    assert not missing, f"{name}: the docstring does not describe {', '.join(missing)}."


@pytest.mark.parametrize("name", [name for name, value in CALLABLES.items() if dataclasses.is_dataclass(value)])
def test_every_field_of_a_record_is_described(name: str) -> None:
    described = section(inspect.getdoc(CALLABLES[name]) or "", "Attributes", "Args") or ""
    fields = [field.name for field in dataclasses.fields(CALLABLES[name]) if not field.name.startswith("_")]
    missing = [each for each in fields if not re.search(rf"^\s+{each}\b", described, re.MULTILINE)]
    assert not missing, f"{name}: the docstring does not describe {', '.join(missing)}."


@pytest.mark.parametrize("name", [name for name, value in CALLABLES.items() if is_built_by_users(value)])
def test_what_users_call_has_an_example_that_runs(name: str) -> None:
    example = section(inspect.getdoc(CALLABLES[name]) or "", "Example", "Examples")
    assert example is not None and ">>>" in example, f"{name} has no Example: with a doctest."


@pytest.mark.parametrize("name", [name for name, value in CALLABLES.items() if inspect.isfunction(value)])
def test_a_result_is_described(name: str) -> None:
    value = CALLABLES[name]
    docstring = inspect.getdoc(value) or ""
    if inspect.signature(value).return_annotation in {None, "None"}:
        assert section(docstring, "Returns", "Yields") is None, f"{name} returns nothing but describes a result."
    else:
        assert section(docstring, "Returns", "Yields"), f"{name} does not say what it returns."


@pytest.mark.parametrize(
    "name", [n for n, v in CALLABLES.items() if inspect.isclass(v) and issubclass(v, torch.optim.Optimizer)]
)
def test_an_optimizer_states_its_formula_cost_and_source(name: str) -> None:
    docstring = inspect.getdoc(CALLABLES[name]) or ""
    assert re.search(r"^\s+.*θ.*(=|←).*$", docstring, flags=re.MULTILINE), f"{name} shows no update of θ."
    for title in ("Cost", "Source"):
        assert section(docstring, title), f"{name} has no {title}: section."
