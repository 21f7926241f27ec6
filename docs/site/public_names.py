"""Write docs/api.md, every public name with its arguments and methods, from signatures and docstrings: `make api`.

A test compares the committed page with the one that this file renders, and fails on a name or an argument without text.
"""

from __future__ import annotations

import ast
import dataclasses
import enum
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import curvestep

PAGE = Path(__file__).with_name("api.md")
WIDTH = 100

HEAD = """\
# Public names

Everything that is not listed here is private and may change without notice. The docstring of a name has its formulas,
symbols, cost, sources and an example: `python -c "import curvestep; help(curvestep.NAME)"`.
"""


@dataclasses.dataclass(frozen=True)
class Entry:
    """What the page says of one name: a public object, or a method of one.

    Attributes:
        name: The dotted name.
        kind: "class", "function", "method", … .
        summary: The first paragraph of the docstring, or the comment at the definition of a constant.
        signature: How it is called, or its value; empty where users do not make it.
        arguments: Arguments, fields or members with their text, which is empty where there is none.
        methods: Its methods and properties.
        also: Which other entry lists the methods that are not listed here.
    """

    name: str
    kind: str
    summary: str
    signature: str = ""
    arguments: dict[str, str] = dataclasses.field(default_factory=dict)
    methods: tuple[Entry, ...] = ()
    also: str = ""

    def undocumented(self) -> list[str]:
        """Return what has no text: the name itself, arguments, methods and their arguments."""
        missing = [] if self.summary else [self.name]
        missing += [f"{self.name}({argument})" for argument, text in self.arguments.items() if not text]
        return missing + [each for method in self.methods for each in method.undocumented()]


# ------------------------------------------------------------------------------------------------------- public names


def public_names() -> Iterator[tuple[str, Any]]:
    """Yield every public dotted name with its object: those of the root, then those of each namespace in it."""
    namespaces: list[ModuleType] = [curvestep]
    for namespace in namespaces:  # grows in the loop: a namespace found in the root is visited after it
        for name in namespace.__all__:
            value = getattr(namespace, name)
            if isinstance(value, ModuleType):
                namespaces.append(value)
            yield f"{namespace.__name__}.{name}", value


def kind_of(value: Any) -> str:
    """Return what a public object is, in one word."""
    if isinstance(value, ModuleType):
        return "namespace"
    if inspect.isclass(value) and not hasattr(value, "__origin__"):
        return "exception" if issubclass(value, BaseException) else "class"
    if hasattr(value, "__origin__"):
        return "type"
    return "function" if callable(value) else "constant"


# ----------------------------------------------------------------------------------------------- docstrings and source


def summary_of(value: Any) -> str:
    """Return the first paragraph of a docstring as one line."""
    return " ".join((inspect.getdoc(value) or "").partition("\n\n")[0].split())


def described(value: Any, *titles: str) -> dict[str, str]:
    """Return the entries "name: text" of the first of the sections that a docstring has."""
    docstring = inspect.getdoc(value) or ""
    for title in titles:
        match = re.search(rf"^{title}:\n((?:[ \t]+.*\n?|\n)*)", docstring, flags=re.MULTILINE)
        if match:
            found = re.split(r"^\*{0,2}(\w+): *", textwrap.dedent(match.group(1)), flags=re.MULTILINE)
            return {name: " ".join(text.split()) for name, text in zip(found[1::2], found[2::2], strict=True)}
    return {}


def comment_of(name: str) -> str:
    """Return the `#:` comment above the assignment of a public constant or type."""
    namespace, _, last = name.rpartition(".")
    source = inspect.getsource(import_module(namespace))
    for node in ast.parse(source).body:
        if isinstance(node, ast.ImportFrom) and any((each.asname or each.name) == last for each in node.names):
            source = inspect.getsource(import_module(node.module or ""))
    lines = source.splitlines()
    at = next((i for i, line in enumerate(lines) if re.match(rf"{re.escape(last)}\b.*=", line)), 0)
    found: list[str] = []
    while at > 0 and lines[at - 1].startswith("#:"):
        at -= 1
        found.insert(0, lines[at].removeprefix("#:").strip())
    return " ".join(found)


def signature_of(name: str, function: Callable[..., Any]) -> str:
    """Return how a function or class is called, in one line or with a parameter a line."""
    shown, keyword_only = [], False
    signature = inspect.signature(function)
    for parameter in signature.parameters.values():
        if parameter.name in {"self", "cls"}:
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not keyword_only:
            keyword_only = True
            shown.append("*")
        text = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "") + parameter.name
        if parameter.annotation is not parameter.empty:
            text += f": {annotation_of(parameter.annotation)}"
        if parameter.default is not parameter.empty:
            equals = " = " if parameter.annotation is not parameter.empty else "="
            text += equals + shown_value(parameter.default)
        shown.append(text)
    result = signature.return_annotation
    arrow = "" if inspect.isclass(function) or result in {signature.empty, None} else f" -> {annotation_of(result)}"
    line = f"{name}({', '.join(shown)}){arrow}"
    if len(line) <= WIDTH:
        return line
    return f"{name}(\n" + "".join(f"    {each},\n" for each in shown) + f"){arrow}"


def shown_value(value: Any) -> str:
    """Return a value as it is written in the package, strings in double quotes."""
    return f'"{value}"' if isinstance(value, str) else repr(value)


def annotation_of(annotation: Any) -> str:
    """Return an annotation as it was written."""
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


# ------------------------------------------------------------------------------------------------------------- entries


def entry_of(name: str, value: Any) -> Entry:
    """Return what the page says of a public name."""
    made: Callable[..., Any] = value
    kind = kind_of(value)
    short = name.rpartition(".")[2]
    if kind in {"constant", "type"}:
        shown = (
            shown_value(value) if kind == "constant" else annotation_of(value).replace("typing.", "").replace("'", '"')
        )
        return Entry(name, kind, comment_of(name) if short != "__version__" else "The version.", f"{short} = {shown}")
    if kind in {"namespace", "exception"}:
        return Entry(name, kind, summary_of(value))
    if kind == "function":
        return Entry(name, kind, summary_of(value), signature_of(short, value), arguments_of(value))
    if issubclass(value, enum.Enum):
        members = {member.name: str(member.value) for member in value}
        return Entry(name, "enumeration", summary_of(value), "", members, methods_of(value))
    fields = described(value, "Attributes")
    if not fields and not is_made_by_users(value):
        return Entry(name, kind, summary_of(value), "", {}, methods_of(value))
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value) if not field.name.startswith("_")]
    else:
        names = parameters_of(value)
    arguments = {each: (fields or described(value, "Args")).get(each, "") for each in names}
    also = next((base for base in PROTOCOLS if base != name and implements(value, PROTOCOLS[base])), "")
    signature = "" if is_handed_out(value) else signature_of(short, made)
    return Entry(name, kind, summary_of(value), signature, arguments, methods_of(value, also), also)


def parameters_of(function: Callable[..., Any]) -> list[str]:
    """Return the names of the parameters, without the object itself."""
    return [name for name in inspect.signature(function).parameters if name not in {"self", "cls"}]


def arguments_of(function: Callable[..., Any]) -> dict[str, str]:
    """Return the parameters of a function with their text."""
    texts = described(function, "Args")
    return {name: texts.get(name, "") for name in parameters_of(function)}


def is_made_by_users(value: Any) -> bool:
    """Whether users call a class: not a contract, and not a tape, which `record` makes."""
    return not getattr(value, "_is_protocol", False) and value is not curvestep.Tape


def is_handed_out(value: Any) -> bool:
    """Whether a class is a record that the library fills in: its page lists the fields only."""
    return value.__module__.startswith(("curvestep._records", "curvestep.engine", "curvestep.diagnostics"))


def implements(value: Any, protocol: Any) -> bool:
    """Whether a class has all methods of a protocol."""
    return all(hasattr(value, each) for each in own_members(protocol))


def own_members(value: Any) -> list[str]:
    """Return the public methods and properties that a class defines itself, in the order of its file."""
    kinds = (property, staticmethod, classmethod)
    return [
        name
        for name, member in vars(value).items()
        if not name.startswith("_") and (isinstance(member, kinds) or _is_defined_in(value, member))
    ]


def _is_defined_in(value: Any, member: Any) -> bool:
    """Whether a member is a function of this class; torch adds a wrapper of the inherited `step` to optimizers."""
    return inspect.isfunction(member) and member.__qualname__.startswith(f"{value.__qualname__}.")


def methods_of(value: Any, also: str = "") -> tuple[Entry, ...]:
    """Return the entries of the methods that a class defines itself, without those of a protocol that it fulfils."""
    known = own_members(PROTOCOLS[also]) if also else []
    return tuple(method_of(value, name) for name in own_members(value) if name not in known)


def method_of(value: Any, name: str) -> Entry:
    """Return the entry of one method or property."""
    member = vars(value)[name]
    if isinstance(member, property):
        assert member.fget is not None
        result = inspect.signature(member.fget).return_annotation
        return Entry(f"{value.__name__}.{name}", "property", summary_of(member), f"{name}: {annotation_of(result)}")
    function = member.__func__ if isinstance(member, (staticmethod, classmethod)) else member
    signature = signature_of(name, function)
    return Entry(f"{value.__name__}.{name}", "method", summary_of(function), signature, arguments_of(function))


def protocols() -> dict[str, Any]:
    """Return the public contracts, by name."""
    return {name: value for name, value in public_names() if getattr(value, "_is_protocol", False)}


PROTOCOLS = protocols()


def shared_entries(values: dict[str, Any]) -> list[tuple[Entry, list[str]]]:
    """Return the private base classes of public classes, with the names of the classes that have their methods."""
    heirs: dict[type, list[str]] = {}
    for name, value in values.items():
        for base in value.__mro__[1:] if inspect.isclass(value) and not hasattr(value, "__origin__") else ():
            private = base.__module__.startswith("curvestep") and base not in values.values()
            if private and own_members(base):
                heirs.setdefault(base, []).append(name.rpartition(".")[2])
    return [
        (Entry(base.__name__, "class", summary_of(base), "", {}, methods_of(base)), of) for base, of in heirs.items()
    ]


def entries() -> list[Entry]:
    """Return the entries of all public names, and those of the bases whose methods public classes have."""
    values = dict(public_names())
    return [entry_of(name, value) for name, value in values.items()] + [entry for entry, _ in shared_entries(values)]


# ------------------------------------------------------------------------------------------------------------ the page


def escaped(text: str) -> str:
    """Return a text as it stands in a cell of a table."""
    return text.replace("|", "\\|").replace("``", "`")


def render_entry(entry: Entry, level: int = 3) -> list[str]:
    """Return the lines of one entry."""
    lines = [f"{'#' * level} `{entry.name}`", "", entry.summary.replace("``", "`"), ""]
    if entry.signature:
        lines += ["```python", entry.signature, "```", ""]
    if entry.arguments:
        column = "outcome" if entry.kind == "enumeration" else "argument" if entry.signature else "field"
        lines += [f"| {column} | |", "|---|---|"]
        lines += [f"| `{name}` | {escaped(text)} |" for name, text in entry.arguments.items()] + [""]
    if entry.also:
        lines += [f"It has the methods of `{entry.also.removeprefix('curvestep.')}`.", ""]
    return lines + render_methods(entry.methods)


def render_methods(methods: tuple[Entry, ...]) -> list[str]:
    """Return the lines of methods: how each is called, what it does, and its arguments."""
    lines: list[str] = []
    for method in methods:
        signature = " ".join(method.signature.replace("(\n    ", "(").replace(",\n)", ")").split())
        lines.append(f"- `{signature}`  \n  {method.summary.replace('``', '`')}")
        lines += [f"  - `{name}`: {text.replace('``', '`')}" for name, text in method.arguments.items()]
    return [*lines, ""] if lines else []


def render() -> str:
    """Return the whole page as Markdown."""
    values = dict(public_names())
    index = ["| name | kind | what it is |", "|---|---|---|"]
    sections: dict[str, list[str]] = {"curvestep": []}
    for name, value in values.items():
        entry = entry_of(name, value)
        index.append(f"| `{name}` | {entry.kind} | {escaped(entry.summary)} |")
        if entry.kind == "namespace":
            sections[name] = [entry.summary.replace("``", "`"), ""]
    for name, value in values.items():
        entry = entry_of(name, value)
        if entry.kind in {"class", "enumeration", "function", "type"} or name.startswith("curvestep.directions."):
            sections[name.rpartition(".")[0]] += render_entry(entry)
    for entry, heirs in shared_entries(values):
        sections["curvestep"] += [f"### Methods of {', '.join(f'`{each}`' for each in heirs)}", ""]
        sections["curvestep"] += render_methods(entry.methods)
    body = [line for name, lines in sections.items() for line in (f"## `{name}`", "", *lines)]
    return "\n".join([HEAD, *index, "", *body]).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
