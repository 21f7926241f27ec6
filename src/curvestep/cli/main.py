"""The entry point: turns refusals into one sentence and an exit status."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line.

    Raises:
        ImportError: if a module of curvestep itself is missing.
        SystemExit: always; with status 0 if all went well, 2 after a refusal, 130 after Ctrl-C.
    """
    try:
        from curvestep.cli.app import app
    except ImportError as error:
        if error.name is not None and error.name.split(".")[0] == "curvestep":
            raise
        print(
            f'curvestep: the command line needs {error.name}; install it with: pip install "curvestep[bench]".',
            file=sys.stderr,
        )
        raise SystemExit(2) from error
    app()
