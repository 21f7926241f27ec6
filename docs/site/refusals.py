"""Every sentence in which the package refuses or warns, read from its source."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import curvestep._errors
import curvestep.bench.errors

PACKAGE = Path(curvestep._errors.__file__).parent
#: The classes of refusals, in the order of the page, and what Python itself has for an argument out of range.
_CLASSES = {**vars(curvestep._errors), **vars(curvestep.bench.errors)}
KINDS = [*(name for name, value in _CLASSES.items() if isinstance(value, type)), "ValueError"]
_WARNING = "UserWarning"


@dataclass(frozen=True)
class Refusal:
    """One `raise`.

    Attributes:
        kind: The class that is raised.
        text: The sentence, with … where it names what was given; empty where the source computes all of it.
        place: File and line.
    """

    kind: str
    text: str
    place: str


def refusals() -> list[Refusal]:
    """Return every `raise` of one of the kinds in the package, and every warning, in the order of the page."""
    found = []
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}
    everywhere = {name: value for tree in trees.values() for name, value in _assigned(tree).items() if name.isupper()}
    for path, tree in trees.items():
        constants = {**everywhere, **_assigned(tree)}
        for function in ast.walk(tree):
            if isinstance(function, (ast.FunctionDef, ast.Module)):
                found += _raised_in(function, path.relative_to(PACKAGE).as_posix(), constants)
    order = [*KINDS, _WARNING]
    return sorted(set(found), key=lambda each: (order.index(each.kind), each.place.rpartition(":")[0], each.text))


def _raised_in(function: ast.FunctionDef | ast.Module, name: str, constants: dict[str, ast.expr]) -> list[Refusal]:
    found = []
    for node in _own(function):
        call = node.exc if isinstance(node, ast.Raise) else node
        if not (isinstance(call, ast.Call) and call.args):
            continue
        called = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
        raised = isinstance(node, ast.Raise) and called in KINDS
        if raised or called == "warn":
            message = call.args[0]
            if isinstance(message, ast.Name):
                message = _assigned(function, call.lineno).get(message.id, message)
            text = " ".join(_text(message, constants).split())
            found.append(Refusal(called if raised else _WARNING, text, f"{name}:{call.lineno}"))
    return found


def _own(function: ast.AST) -> list[ast.AST]:
    """Return the nodes of a function without those of the functions in it."""
    found: list[ast.AST] = []
    waiting = list(ast.iter_child_nodes(function))
    while waiting:
        node = waiting.pop()
        if not isinstance(node, ast.FunctionDef):
            found.append(node)
            waiting += ast.iter_child_nodes(node)
    return found


def _assigned(function: ast.AST, before: int = 1 << 30) -> dict[str, ast.expr]:
    """Return what was assigned last to each name before a line."""
    nodes = [node for node in _own(function) if isinstance(node, ast.Assign) and node.lineno < before]
    return {
        target.id: node.value
        for node in sorted(nodes, key=lambda node: node.lineno)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _text(node: ast.expr, constants: dict[str, ast.expr]) -> str:
    """Return the words of a string expression, with … for what is filled in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part, constants) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return _text(node.value, constants)
    if isinstance(node, ast.Name) and isinstance(constants.get(node.id), (ast.Constant, ast.JoinedStr)):
        return _text(constants[node.id], constants)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        return re.sub(r"\{[^}]*\}", "…", _text(node.func.value, constants))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left, constants) + _text(node.right, constants)
    return "…"


def page() -> str:
    """Return the page of all refusals as Markdown."""
    lines = [
        "# Every refusal",
        "",
        "The sentences in which curvestep refuses or warns, as they stand in its source; … stands for what was given.",
        "Each says what was needed, what was given and what to do. [Troubleshooting](troubleshooting.md) begins with",
        "symptoms.",
        "",
    ]
    found = refusals()
    for kind in [*KINDS, _WARNING]:
        rows = [each for each in found if each.kind == kind and each.text.strip("… ")]
        if not rows:
            continue
        lines += [f"## `{kind}`", ""]
        for each in rows:
            lines += [f"- {_escaped(each.text)}  ", f"  <small>`{each.place.rpartition(':')[0]}`</small>"]
        lines.append("")
    return "\n".join(lines)


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_").replace("[", "\\[")
