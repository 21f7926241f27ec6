"""Write docs/api.md, the list of public names with what each is for, from the docstrings: `make api`.

A test compares the committed page with what this would write, so the page cannot fall behind the package.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import curvestep

PAGE = Path(__file__).with_name("api.md")


def public_names() -> Iterator[tuple[str, Any]]:
    """Every public name with its object: those of the root, then those of each public namespace in it.

    Yields:
        Pairs of a dotted name, such as `curvestep.schedules.red`, and the object.
    """
    namespaces: list[ModuleType] = [curvestep]
    for namespace in namespaces:  # grows while it is walked: a namespace found in the root is walked after it
        for name in namespace.__all__:
            value = getattr(namespace, name)
            if isinstance(value, ModuleType):
                namespaces.append(value)
            yield f"{namespace.__name__}.{name}", value


def kind_of(value: Any) -> str:
    """Say what a public object is, in one word."""
    if isinstance(value, ModuleType):
        return "namespace"
    if inspect.isclass(value):
        return "exception" if issubclass(value, BaseException) else "class"
    return "function" if callable(value) else "constant"


def render() -> str:
    """Return the whole page as Markdown."""
    rows = []
    for name, value in public_names():
        kind = kind_of(value)
        summary = "" if kind == "constant" else (inspect.getdoc(value) or "").partition("\n\n")[0].replace("\n", " ")
        rows.append(f"| `{name}` | {kind} | {summary.replace('|', chr(92) + '|')} |")
    return "\n".join(
        [
            "# Public names",
            "",
            "Everything that is not listed here is private and may change without notice. Each name's docstring has",
            'its formulas, arguments, cost and an example: `python -c "import curvestep; help(curvestep.NAME)"`.',
            "",
            "| name | kind | what it is |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
