"""Names that a person types: the thing of that name, or a sentence with what was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

from curvestep.bench.errors import SettingError

T = TypeVar("T")
NameT = TypeVar("NameT", bound=str)


def named(kind: str, name: str, table: Mapping[str, T]) -> T:
    """Return the entry of a table.

    Raises:
        SettingError: if there is none of that name; with names that are spelt alike.
    """
    if name in table:
        return table[name]
    raise SettingError(unknown(kind, name, table))


def several(kind: str, text: str, names: Iterable[NameT]) -> list[NameT]:
    """Return the names of a list separated by commas, in the order of the table; all of them for an empty list.

    Raises:
        SettingError: if there is none of one of these names.
    """
    table: dict[str, NameT] = {name: name for name in names}
    wanted = {named(kind, part.strip(), table) for part in text.split(",") if part.strip()}
    return [name for name in table.values() if not wanted or name in wanted]


def unknown(kind: str, name: str, names: Iterable[str]) -> str:
    """Return the sentence about a name that does not exist.

    Example:
        >>> unknown("method", "sgdd", ["sgd", "adamw"])
        "There is no method 'sgdd'; did you mean sgd? The methods are sgd, adamw."
        >>> unknown("task", "", ["digits"])
        "There is no task ''; the tasks are digits."
    """
    names = list(names)
    alike = difflib.get_close_matches(name, names, n=2) or [each for each in names if name and name in each][:2]
    guess = f"did you mean {' or '.join(alike)}? The" if alike else "the"
    return f"There is no {kind} {name!r}; {guess} {kind}s are {', '.join(names)}."
