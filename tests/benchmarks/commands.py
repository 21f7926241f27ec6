"""Commands of the laboratory as a person types them."""

from __future__ import annotations

import pytest

from benchmarks.commands import main


def run(*arguments: str) -> None:
    """Run a command, which must succeed."""
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert not stop.value.code, arguments


def refuse(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one sentence of a refusal."""
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    said = capsys.readouterr()
    assert stop.value.code == 2 and said.out == ""
    (line,) = said.err.splitlines()
    return line
