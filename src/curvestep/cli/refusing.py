"""How a command refuses: one sentence on the error stream and a status, never a traceback."""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec

import typer
from rich.console import Console

from curvestep._errors import CurvestepError
from curvestep.bench.errors import BenchWarning

_REFUSED = 2
# The status of a shell command that was stopped with Ctrl-C: 128 + SIGINT.
_INTERRUPTED = 130

_P = ParamSpec("_P")


def refusing(command: Callable[_P, None]) -> Callable[_P, None]:
    """The command, with refusals as one sentence on the error stream and warnings as one line."""

    @functools.wraps(command)
    def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> None:
        errors = error_console()
        try:
            with _warnings_as_lines(errors):
                command(*args, **kwargs)
        except CurvestepError as error:
            errors.print(f"curvestep: {error}")
            raise typer.Exit(_REFUSED) from error
        except KeyboardInterrupt:
            errors.print("curvestep: stopped; finished runs are in the store, the one in progress is not.")
            raise typer.Exit(_INTERRUPTED) from None

    return wrapped


def error_console() -> Console:
    """The error stream, on which long lines are not broken."""
    return Console(stderr=True, soft_wrap=True, highlight=False, markup=False)


@contextlib.contextmanager
def _warnings_as_lines(errors: Console) -> Iterator[None]:
    """Print the benchmark's own warnings as one line each, and leave all others as they are."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", BenchWarning)
        show = warnings.showwarning

        def line(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, BenchWarning):
                errors.print(f"curvestep: {message}")
            else:
                show(message, category, *where, **more)

        warnings.showwarning = line
        yield
