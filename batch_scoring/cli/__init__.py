"""The command line: each command parses, calls one function of the package, and prints."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command that the arguments name; ends the process with its exit code."""
    from batch_scoring.cli.app import app
    from batch_scoring.errors import BatchScoringError

    try:
        app()
    except BatchScoringError as exc:
        from batch_scoring.cli.output import show_error

        show_error(exc)
        sys.exit(exc.exit_code)
