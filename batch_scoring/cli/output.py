"""Printing results, notices and errors: results on standard output, everything else on standard error.

With ``--json``, standard output contains exactly one JSON document: the result, or ``{"error": {...}}``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from batch_scoring.cli.streams import is_unicode
from batch_scoring.cli.tables import TableColumn, show_record, show_sentence, show_table, shown
from batch_scoring.errors import BatchScoringError, ConfigurationError, ExitCode, InputFault
from batch_scoring.printable import printable
from batch_scoring.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

    from batch_scoring.store.engine.database import Database

__all__ = [
    "Json",
    "TableColumn",
    "ask",
    "console",
    "database",
    "is_json_wanted",
    "migrated_database",
    "notice",
    "required_reason",
    "settings",
    "show_error",
    "show_error_json",
    "show_json",
    "show_record",
    "show_script",
    "show_sentence",
    "show_table",
    "show_unexpected",
    "show_usage_error",
    "shown",
]

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def settings() -> Settings:
    """The settings of this process. Raises ConfigurationError."""
    return Settings.from_environment()


def database() -> Database:
    """The database of the settings. Raises ConfigurationError."""
    from batch_scoring.store.engine.database import Database

    return Database(settings().database_url)


def migrated_database() -> Database:
    """The database of the settings, with the schema of this version. Raises SchemaOutOfDate, ConfigurationError."""
    from batch_scoring.store.schema.revision import check_schema

    found = database()
    check_schema(found)
    return found


def console() -> Console:
    """A console on standard error, for a progress bar."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def is_json_wanted() -> bool:
    """Whether the arguments of this process include ``--json``, even if they could not be parsed."""
    arguments = sys.argv[1:]
    return "--json" in arguments[: arguments.index("--")] if "--" in arguments else "--json" in arguments


def show_error(exc: BatchScoringError) -> None:
    """Print an error on standard error; with ``--json`` on standard output, too."""
    for line in str(exc).splitlines():
        typer.echo(f"error: {printable(line)}", err=True)
    for note in getattr(exc, "__notes__", ()):
        typer.echo(f"note: {printable(note)}", err=True)
    if is_json_wanted():
        show_error_json(exc)


def show_error_json(exc: BatchScoringError) -> None:
    """Print an error as JSON, instead of a result."""
    details = {"problems": exc.problems} if isinstance(exc, ConfigurationError) else {}
    _error_json(type(exc).__name__, str(exc), exc.exit_code, **details)


def show_usage_error(exc: typer.exceptions.TyperException) -> int:
    """Print the usage of a command and the usage error; returns the exit code."""
    context = getattr(exc, "ctx", None)
    message = exc.format_message().replace("Value error, ", "")
    if context is None or type(exc).__name__ == "NoArgsIsHelpError":
        typer.echo(message, err=True)
    else:
        typer.echo(f"{context.get_usage()}\nTry '{context.command_path} --help' for help.\n", err=True)
        typer.echo(f"error: {message}", err=True)
    if is_json_wanted():
        _error_json("UsageError", message, ExitCode.WRONG_USAGE)
    return ExitCode.WRONG_USAGE


def show_unexpected(exc: Exception) -> None:
    """With ``--json``, print that an unexpected exception ended the command; its traceback is on standard error."""
    if not is_json_wanted():
        return
    message = f"an unexpected {type(exc).__name__} ended the command; its traceback is on standard error"
    _error_json("UnexpectedFault", message, ExitCode.RUN_FAILED)


def _error_json(kind: str, message: str, exit_code: int, **details: Any) -> None:
    show_json({"error": {"type": kind, "message": message, "exit_code": int(exit_code), **details}})


def notice(text: str) -> None:
    """Print a message on standard error."""
    for line in text.splitlines() or [""]:
        typer.echo(printable(line), err=True)


def ask(what: str) -> None:
    """Ask for confirmation. Raises InputFault if standard input is no terminal, Exit if the answer is no."""
    if not sys.stdin.isatty():
        raise InputFault(f"this would {what}; add --yes to confirm, or --dry-run to see what would change")
    if not typer.confirm(f"{what[0].upper()}{what[1:]}?", err=True):
        notice("nothing was done")
        raise typer.Exit(1)


def required_reason(reason: str | None) -> str:
    """The reason given for an operation that is recorded. Raises InputFault if it is missing or blank."""
    if reason is None or not reason.strip():
        raise InputFault("--reason is missing; it is recorded with the operation")
    return reason


def show_json(value: Any) -> None:
    """Print a record, or a list of records, as JSON."""
    needs_escapes = not is_unicode(sys.stdout.encoding)
    typer.echo(json.dumps(_plain(value), indent=2, ensure_ascii=needs_escapes, default=str))


def show_script(text: str) -> None:
    """Print text for another program. Raises InputFault if the encoding of standard output cannot represent it."""
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        raise InputFault(
            f"the text contains characters that {sys.stdout.encoding}, the encoding of the output, cannot represent;"
            " set PYTHONIOENCODING=utf-8"
        ) from None
    typer.echo(text, nl=not text.endswith("\n"))


def _plain(value: Any) -> Any:
    if hasattr(value, "as_json"):
        return _plain(value.as_json())
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value
