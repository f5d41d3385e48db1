"""The command line: each command parses, calls one function of the package, and prints."""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command given by the arguments and exit with its exit code."""
    from batch_scoring.cli import streams

    streams.prepare()
    try:
        code = _run()
    except BaseException:
        streams.finish()
        raise
    reason = streams.finish()
    if reason is not None:
        code = _not_written(code, reason)
    sys.exit(code)


def _run() -> int:
    import typer

    from batch_scoring.cli.app import app
    from batch_scoring.cli.help import markup_mode
    from batch_scoring.cli.output import show_error, show_unexpected, show_usage_error
    from batch_scoring.errors import BatchScoringError

    app.rich_markup_mode = markup_mode()
    try:
        code = app(standalone_mode=False)
    except BatchScoringError as exc:
        show_error(exc)
        return exc.exit_code
    except typer.exceptions.TyperException as exc:
        return show_usage_error(exc)
    except typer.Abort:
        typer.echo("aborted", err=True)
        return 1
    except Exception as exc:
        show_unexpected(exc)
        raise
    return code if isinstance(code, int) else 0


def _not_written(code: int, reason: str) -> int:
    """Report that the result could not be printed. A command that changed something keeps its exit code."""
    from batch_scoring.cli.app import changes_something
    from batch_scoring.cli.output import notice
    from batch_scoring.errors import ExitCode

    if code or changes_something(sys.argv[1:]):
        notice(f"warning: the result could not be written to standard output: {reason}; the changes were made")
        return code
    notice(f"error: the result could not be written to standard output: {reason}")
    return ExitCode.RUN_FAILED
