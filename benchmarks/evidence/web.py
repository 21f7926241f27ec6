"""The evidence as one page in HTML: styles and figures inside, links within, nothing from the network."""

from __future__ import annotations

import base64
import html
import re
from pathlib import Path
from string import Template

from benchmarks.evidence.glance import slug

#: An SVG above so many bytes is left for its PNG.
_LARGEST_SVG = 350_000
_WORDS = {"held": "held", "not held": "lost", "not enough runs": "open", "not measured yet": "open"}
_MARKS = {"held": "✓", "lost": "✗", "open": "…"}
_HERE = Path(__file__).resolve().parent


def web_page(markdown: str, folder: Path) -> str:
    """The page.

    Args:
        markdown: the whole document.
        folder: where its figures are, as SVG and PNG.

    Returns:
        HTML.
    """
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    body, contents = _headings(body)
    body = _figures(body, folder)
    body = _tables(_chips(_links(body)))
    page = Template((_HERE / "page.html").read_text(encoding="utf-8"))
    style = (_HERE / "page.css").read_text(encoding="utf-8")
    return page.substitute(style=style, contents=contents, body=body)


def _headings(body: str) -> tuple[str, str]:
    """Headings with anchors, and the list of contents."""
    seen: dict[str, int] = {}
    items: list[str] = []

    def anchored(match: re.Match[str]) -> str:
        level, text = match[1], match[2]
        plain = html.unescape(re.sub(r"<[^>]+>", "", text))
        name = slug(plain)
        seen[name] = seen.get(name, -1) + 1
        name += f"-{seen[name]}" if seen[name] else ""
        if level in "23":
            items.append(f'<li class="level{level}"><a href="#{html.escape(name)}">{text}</a></li>')
        return f'<h{level} id="{html.escape(name)}">{text}</h{level}>'

    body = re.sub(r"<h([1-6])>(.*?)</h\1>", anchored, body)
    return body, "\n".join(items)


def _figures(body: str, folder: Path) -> str:
    """Figures as data inside the page; each opens nothing, and is as wide as it may be."""

    def inside(match: re.Match[str]) -> str:
        name, text = Path(match[1]), match[2]
        vector, pixels = folder / f"{name.stem}.svg", folder / f"{name.stem}.png"
        if vector.exists() and vector.stat().st_size <= _LARGEST_SVG:
            kind, data = "svg+xml", vector.read_bytes()
        elif pixels.exists():
            kind, data = "png", pixels.read_bytes()
        else:
            return f"<p>The figure {html.escape(name.stem)} was not drawn yet.</p>"
        source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
        return f'<figure><img src="{source}" alt="{text}"><figcaption>{text}</figcaption></figure>'

    return re.sub(r'<p><img src="figures/([^"]+)" alt="([^"]*)" /></p>', inside, body)


def _links(body: str) -> str:
    """Links within the page stay; those to other pages of the documentation become their text."""
    return re.sub(r'<a href="(?!#)[^"]*">(.*?)</a>', r"<em>\1</em>", body)


def _chips(body: str) -> str:
    """Verdicts as labels that are told apart without their colour too."""

    def chip(word: str) -> str:
        kind = _WORDS[word]
        return f'<span class="chip {kind}">{_MARKS[kind]} {word}</span>'

    words = "|".join(sorted(_WORDS, key=len, reverse=True))
    body = re.sub(rf"<p><strong>({words})\.</strong>", lambda m: f'<p class="rule">{chip(m[1])}', body)
    return re.sub(rf"<td><strong>({words})</strong></td>", lambda m: f"<td>{chip(m[1])}</td>", body)


def _tables(body: str) -> str:
    """Tables that scroll by themselves where they are wider than the page."""
    return body.replace("<table>", '<div class="wide"><table>').replace("</table>", "</table></div>")
