"""One fault: where it was found, what was done, and the claims beside their truths."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.fuzz.case import Claim


@dataclass(frozen=True)
class Finding:
    """A case that fails, or failed once.

    Attributes:
        number: "attack 12" or "loops F3".
        name: unique within the number.
        claims: runs the program and yields what the engine says beside the truth.
        must_answer: whether a refusal is the fault.
        hangs: whether it runs in a process of its own, which can be ended from outside.
    """

    number: str
    name: str
    claims: Callable[[], Iterator[Claim]]
    must_answer: bool = False
    hangs: bool = False

    @property
    def id(self) -> str:
        """The name of its test."""
        return f"{self.number}: {self.name}"


class Table(list[Finding]):
    """The findings of one file, in the order in which they stand there."""

    def row(self, number: str, *, must_answer: bool = False, hangs: bool = False) -> Callable[[Any], Any]:
        """Add the decorated function as a finding."""

        def add(claims: Callable[[], Iterator[Claim]]) -> Callable[[], Iterator[Claim]]:
            self.append(Finding(number, claims.__name__.replace("_", " "), claims, must_answer, hangs))
            return claims

        return add
