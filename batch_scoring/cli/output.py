"""How results, notices and errors look: results on standard output, all else on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from batch_scoring.errors import BatchScoringError, InputFault
from batch_scoring.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

    from batch_scoring.store.database import Database

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

_WIDE = 250
"""Columns assumed where the output is no terminal, so that nothing is cut off in a pipe."""


def settings() -> Settings:
    """The settings of this process."""
    return Settings.from_environment()


def database() -> Database:
    """The database the settings name."""
    from batch_scoring.store.database import Database

    return Database(settings().database_url)


def migrated_database() -> Database:
    """The same, once its schema was found to be this version's. Raises SchemaOutOfDate."""
    from batch_scoring.store.migrations import check_revision

    found = database()
    with found.read() as connection:
        check_revision(connection)
    return found


def console(*, error: bool = False) -> Console:
    """A console that wraps on a terminal and never in a pipe."""
    from rich.console import Console

    stream = sys.stderr if error else sys.stdout
    return Console(stderr=error, width=None if stream.isatty() else _WIDE, highlight=False)


def show_error(exc: BatchScoringError) -> None:
    """What is wrong and what to do, on standard error."""
    for line in str(exc).splitlines():
        typer.echo(f"error: {line}", err=True)


def notice(text: str) -> None:
    """A remark beside the result, on standard error."""
    typer.echo(text, err=True)


def ask(what: str) -> None:
    """Ask a person before something is done. Raises InputFault where nobody can be asked, Exit where they say no."""
    if not sys.stdin.isatty():
        raise InputFault(
            f"this would {what}; say --yes to do so without being asked, or --dry-run to see what it comes to"
        )
    if not typer.confirm(f"{what[0].upper()}{what[1:]}?", err=True):
        notice("nothing was done")
        raise typer.Exit(1)


def required_reason(reason: str | None) -> str:
    """Why somebody asks for something that stays on record. Raises InputFault where they do not say."""
    if reason is None or not reason.strip():
        raise InputFault("--reason is missing: say why, it stays on record")
    return reason


def show_json(value: Any) -> None:
    """A record, or a list of them, as JSON."""
    typer.echo(json.dumps(_plain(value), indent=2, ensure_ascii=False, default=str))


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value


def show_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str | None = None) -> None:
    """Rows under a header; a column all of whose values are numbers is set to the right."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    rows = [list(row) for row in rows]
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for i, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[i], int | float) or row[i] is None for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(shown(value)) for value in row))
    console().print(table)


def show_record(pairs: Iterable[tuple[str, Any]]) -> None:
    """Names and values, one a line."""
    pairs = [(name, shown(value)) for name, value in pairs]
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        typer.echo(f"{name.ljust(width)}  {value}")


def shown(value: Any) -> str:
    """A value as a person reads it; times are UTC."""
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, timedelta):
        return str(timedelta(seconds=int(value.total_seconds())))
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"
    return str(value)
