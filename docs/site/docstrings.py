"""A Griffe extension: what the house's docstrings write otherwise than Griffe reads."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import griffe  # pyright: ignore[reportMissingImports]  # of the extra `docs`


class HouseDocstrings(griffe.Extension):
    """Doctests under `Example:`, comments `#:` above constants, and paths of pages as links to them."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of an object as it is loaded."""
        if obj.is_attribute and obj.docstring is None and obj.lineno is not None:
            comment = _comment_above(obj)
            if comment:
                obj.docstring = griffe.Docstring(comment, parent=obj)
        if obj.docstring is not None:
            obj.docstring.value = rewritten(obj.docstring.value)


def rewritten(text: str) -> str:
    """Return a docstring with the titles that Griffe knows, and with links.

    `Example:` is a note to Griffe and `Examples:` a section with doctests in it.
    """
    text = re.sub(r"^Example:$", "Examples:", text, flags=re.MULTILINE)
    text = re.sub(r"``([^`]+)``", r"`\1`", text)
    return re.sub(r"\bdocs/([\w-]+)\.md\b", r"[\1](../\1.md)", text)


def _comment_above(obj: griffe.Object) -> str:
    if not isinstance(obj.filepath, Path):  # a namespace that is spread over folders
        return ""
    lines, at = obj.lines_collection[obj.filepath], (obj.lineno or 1) - 1
    found: list[str] = []
    while at > 0 and lines[at - 1].startswith("#:"):
        at -= 1
        found.insert(0, lines[at].removeprefix("#:").strip())
    return " ".join(found)
