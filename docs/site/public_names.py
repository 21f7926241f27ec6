"""Every public name with its arguments and methods, and which of them no text describes.

The site and tests/test_public_api.py read it: a name, a method or an argument without text fails both.
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
from types import ModuleType
from typing import Any

import curvestep


@dataclasses.dataclass(frozen=True)
class Entry:
    """What the docstrings say of one name: a public object, or a method of one.

    Attributes:
        name: The dotted name.
        summary: The first paragraph of the docstring, or the comment at the definition of a constant.
        arguments: Arguments, fields or members with their text, which is empty where there is none.
        methods: Its methods and properties.
    """

    name: str
    summary: str
    arguments: dict[str, str] = dataclasses.field(default_factory=dict)
    methods: tuple[Entry, ...] = ()

    def undocumented(self) -> list[str]:
        """Return what has no text: the name itself, arguments, methods and their arguments."""
        missing = [] if self.summary else [self.name]
        missing += [f"{self.name}({argument})" for argument, text in self.arguments.items() if not text]
        return missing + [each for method in self.methods for each in method.undocumented()]


def public_names() -> Iterator[tuple[str, Any]]:
    """Yield every public dotted name with its object: those of the root, then those of each namespace in it."""
    namespaces: list[ModuleType] = [curvestep]
    for namespace in namespaces:  # grows in the loop: a namespace found in the root is visited after it
        for name in namespace.__all__:
            value = getattr(namespace, name)
            if isinstance(value, ModuleType):
                namespaces.append(value)
            yield f"{namespace.__name__}.{name}", value


def shown(pages: str) -> list[str]:
    """Return the names that the pages of docs/api/ show, under their public name.

    A function in a file of its own name is shown by the file's path, or MkDocs would take the file for it.
    """
    places = re.findall(r"^::: ([\w.]+)(?:\n +options: \{heading: ([\w.]+),)?", pages, flags=re.MULTILINE)
    return [heading or place for place, heading in places]


def kind_of(value: Any) -> str:
    """Return what a public object is, in one word."""
    if isinstance(value, ModuleType):
        return "namespace"
    if inspect.isclass(value) and not hasattr(value, "__origin__"):
        return "exception" if issubclass(value, BaseException) else "class"
    if hasattr(value, "__origin__"):
        return "type"
    return "function" if callable(value) else "constant"


def entries() -> list[Entry]:
    """Return the entries of all public names, and those of the private bases whose methods public classes have."""
    values = dict(public_names())
    classes = [value for value in values.values() if kind_of(value) == "class"]
    private = {base: None for value in classes for base in value.__mro__[1:] if base not in classes}
    bases = [base for base in private if base.__module__.startswith("curvestep") and own_members(base)]
    return [entry_of(name, value) for name, value in values.items()] + [
        Entry(base.__name__, summary_of(base), {}, methods_of(base)) for base in bases
    ]


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
    return comment_above(
        lines, next((i for i, line in enumerate(lines) if re.match(rf"{re.escape(last)}\b.*=", line)), 0)
    )


def comment_above(lines: list[str], at: int) -> str:
    """Return the `#:` comment that ends just above the line with this index."""
    found: list[str] = []
    while at > 0 and lines[at - 1].startswith("#:"):
        at -= 1
        found.insert(0, lines[at].removeprefix("#:").strip())
    return " ".join(found)


# ------------------------------------------------------------------------------------------------------------- entries


def entry_of(name: str, value: Any) -> Entry:
    """Return the entry of a public name."""
    kind = kind_of(value)
    if kind in {"constant", "type"}:
        return Entry(name, comment_of(name) if not name.endswith(".__version__") else "The version.")
    if kind in {"namespace", "exception"}:
        return Entry(name, summary_of(value))
    if kind == "function":
        return Entry(name, summary_of(value), arguments_of(value))
    if issubclass(value, enum.Enum):
        return Entry(name, summary_of(value), {member.name: str(member.value) for member in value}, methods_of(value))
    fields = described(value, "Attributes")
    if not fields and not is_made_by_users(value):
        return Entry(name, summary_of(value), {}, methods_of(value))
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value) if not field.name.startswith("_")]
    else:
        names = parameters_of(value)
    texts = fields or described(value, "Args")
    return Entry(name, summary_of(value), {each: texts.get(each, "") for each in names}, methods_of(value))


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


def methods_of(value: Any) -> tuple[Entry, ...]:
    """Return the entries of the methods that a class defines itself, those of a public contract left out."""
    contracts = [each for _, each in public_names() if getattr(each, "_is_protocol", False) and each is not value]
    known = {name for each in contracts if _fulfils(value, each) for name in own_members(each)}
    return tuple(method_of(value, name) for name in own_members(value) if name not in known)


def _fulfils(value: Any, contract: Any) -> bool:
    """Whether a class has all methods of a contract."""
    return all(hasattr(value, each) for each in own_members(contract))


def method_of(value: Any, name: str) -> Entry:
    """Return the entry of one method or property."""
    member = vars(value)[name]
    if isinstance(member, property):
        return Entry(f"{value.__name__}.{name}", summary_of(member))
    function = member.__func__ if isinstance(member, (staticmethod, classmethod)) else member
    return Entry(f"{value.__name__}.{name}", summary_of(function), arguments_of(function))
