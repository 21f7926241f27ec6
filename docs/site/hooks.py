"""Hooks of MkDocs: the pages that lie outside of docs/ or are read from the source, and links between them.

The front page is README.md, so that each fact stands in one place. A link out of the site, to a source file, becomes
its text; every other link is checked by MkDocs, which is strict. A public name without text, or one that no page of
docs/api/ shows, ends the build.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.exceptions import PluginError  # pyright: ignore[reportMissingImports]  # of the extra `docs`
from mkdocs.structure.files import File, Files  # pyright: ignore[reportMissingImports]
from mkdocs.structure.pages import Page  # pyright: ignore[reportMissingImports]

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE), str(ROOT / "src")]

import public_names  # noqa: E402
import refusals  # noqa: E402

#: Files of the repository that are pages of the site, by their place in the repository.
OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "examples/README.md": "examples.md",
}
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are not in docs/."""
    for source, target in OUTSIDE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        if source == "examples/README.md":
            text += listings()
        files.append(File.generated(config, target, content=linked(text, source)))
    files.append(File.generated(config, "refusals.md", content=refusals.page()))
    unshown = unshown_names()
    if unshown:
        raise PluginError(f"Public names without text or without a place in docs/api/: {', '.join(unshown)}.")
    return files


def on_page_markdown(markdown: str, page: Page, config: Any, files: Files) -> str:
    """Turn links between files of the repository into links between pages."""
    del config, files
    return markdown if page.file.generated_by else linked(markdown, f"docs/{page.file.src_uri}")


def listings() -> str:
    """Return the examples, each under a heading of its own."""
    parts = ["\n"]
    for path in sorted((ROOT / "examples").glob("*.py")):
        parts.append(f"## {path.name} {{#{path.stem}}}\n\n```python\n{path.read_text(encoding='utf-8')}```\n")
    return "\n".join(parts)


def linked(text: str, source: str) -> str:
    """Return the Markdown of a file of the repository with its links as the site needs them."""

    def target_of(match: re.Match[str]) -> str:
        mark, label, link = match.groups()
        if re.match(r"[a-z]+:|#|/", link):
            return match.group(0)
        path, _, anchor = link.partition("#")
        inside = place_of(normal(PurePosixPath(source).parent / path))
        if inside is None:
            return f"{mark}{label}"
        page, own = inside
        anchor = f"#{anchor or own}" if anchor or own else ""
        return f"{mark}[{label}]({relative(page, OUTSIDE.get(source, source.removeprefix('docs/')))}{anchor})"

    pieces = re.split(r"(^```.*?^```$)", text, flags=re.MULTILINE | re.DOTALL)
    return "".join(piece if piece.startswith("```") else _LINK.sub(target_of, piece) for piece in pieces)


def normal(path: PurePosixPath) -> str:
    """Return a path without `..`."""
    parts: list[str] = []
    for part in path.parts:
        parts = parts[:-1] if part == ".." else [*parts, part]
    return "/".join(parts)


def place_of(path: str) -> tuple[str, str] | None:
    """Return the page that a file of the repository is on, with its anchor; None for one that is on none."""
    if path in OUTSIDE:
        return OUTSIDE[path], ""
    if re.fullmatch(r"examples/\w+\.py", path):
        return "examples.md", PurePosixPath(path).stem
    return (path.removeprefix("docs/"), "") if path.startswith("docs/") and not path.endswith(".py") else None


def relative(target: str, source: str) -> str:
    """Return the way from one page to another."""
    return "../" * source.count("/") + target


def unshown_names() -> list[str]:
    """Return the public names that have no text, or that no page of docs/api/ shows."""
    pages = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "api").glob("*.md"))
    shown = set(public_names.shown(pages))
    names = {name for name, value in public_names.public_names() if public_names.kind_of(value) != "namespace"}
    unshown = sorted(names - shown - {"curvestep.__version__"})
    return unshown + [each for entry in public_names.entries() for each in entry.undocumented()]
