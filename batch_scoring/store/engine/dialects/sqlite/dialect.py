"""SQLite, through Python's own driver."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from batch_scoring.domain.names import TableName
from batch_scoring.errors import ConfigurationError, DatabaseFault, Problem
from batch_scoring.store.engine.addresses import SETTING
from batch_scoring.store.engine.catalog import Structure
from batch_scoring.store.engine.columns import SourceColumn
from batch_scoring.store.engine.dialects.dialect import ConditionSyntax, Dialect
from batch_scoring.store.engine.dialects.sqlite import casts, catalog, errors
from batch_scoring.store.engine.driver_errors import is_driver_error
from batch_scoring.store.engine.names import literal
from batch_scoring.store.engine.timeouts import Timeouts

if TYPE_CHECKING:
    from batch_scoring.store.engine.expressions import ExpressionSyntax


class SQLite(Dialect):
    """SQLite: a file on this machine, with one writer at a time."""

    name = "sqlite"
    product = "SQLite"
    driver = "sqlite"
    templates = "sqlite"
    is_file = True
    folds_names = True
    enforces_types = False
    changes_column_types = False
    has_time_zones = False
    has_roles = False
    temporary_schema = "temp"
    locks_rows = False
    key_collation = "BINARY"
    differs = "IS NOT"
    pings = False
    bulk = {"sqlite": "sqlite", "sqlite+pysqlite": "sqlite"}  # noqa: RUF012 - a ClassVar of the base
    casts = (casts.BY_BASE, casts.BY_FAMILY)
    conditions = ConditionSyntax(
        skipped=re.compile(
            r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | `(?:[^`]|``)*` | \[[^\]]*\] | --[^\n]* | /\*.*?\*/""",
            re.VERBOSE | re.DOTALL,
        ),
        quotes="'\"`",
        nests_comments=False,
    )

    @property
    def expressions(self) -> ExpressionSyntax:
        """Loaded when a model is computed."""
        from batch_scoring.store.engine.dialects.sqlite.expressions import SQLiteExpressions

        return SQLiteExpressions()

    def checked_url(self, url: sa.URL) -> sa.URL:
        """Raise ConfigurationError for a database in memory."""
        if url.database in (None, "", ":memory:"):
            message = "an SQLite database in memory is lost when the process ends; name a file: sqlite:///file.db"
            raise ConfigurationError([Problem(where=SETTING, key="", message=message)])
        return url

    def file_of(self, url: sa.URL) -> Path | None:
        """The file, of a URI as well."""
        return Path((url.database or "").removeprefix("file:").partition("?")[0])

    def connect_arguments(self, url: sa.URL, timeouts: Timeouts) -> dict[str, Any]:  # noqa: ARG002 - the contract's
        """Wait for the lock of the file as long as for any other lock."""
        return {"timeout": timeouts.lock.total_seconds()}

    def on_connect(self, dbapi_connection: Any, url: sa.URL) -> None:  # noqa: ARG002 - the contract's
        """Leave transactions to ``begin``, enforce foreign keys, and use WAL, in which writers do not block readers."""
        dbapi_connection.isolation_level = None
        cursor = dbapi_connection.cursor()
        try:
            cursor.execute("PRAGMA foreign_keys = ON")
            if cursor.execute("PRAGMA query_only").fetchone() and not _is_wal(cursor):
                cursor.execute("PRAGMA journal_mode = WAL")
        except Exception as exc:  # the journal mode of a read-only file cannot be changed
            if not is_driver_error(exc):
                raise
        finally:
            cursor.close()

    def begin(self, connection: sa.Connection, *, writes: bool, label: str, timeouts: Timeouts) -> None:  # noqa: ARG002
        """A writing transaction takes the write lock at its start: a transaction that reads first may not get it."""
        connection.exec_driver_sql(f"PRAGMA query_only = {'OFF' if writes else 'ON'}")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    def fault(self, exc: BaseException | None, url: sa.URL, *, lost: bool) -> DatabaseFault:  # noqa: ARG002
        """By SQLite's own name of the error."""
        return errors.fault(exc, self.file_of(url))

    def refusal(self, driver_error: Any, columns: Collection[str]) -> tuple[str | None, str] | None:
        """By SQLite's own name of the constraint."""
        return errors.refusal(driver_error, columns)

    def json_text(self, value: str, key: str) -> str:
        """By a path: older versions have no operator."""
        return f"""json_extract({value}, {literal(f'$."{key}"')})"""

    def columns(self, connection: sa.Connection, table: TableName, reflected: Any) -> dict[str, SourceColumn]:
        """The types of a view's columns are unknown to SQLite."""
        return catalog.columns(connection, table, reflected, self)

    def structure(self, connection: sa.Connection, table: TableName) -> Structure:
        """Read with PRAGMA."""
        return catalog.structure(connection, table)


def _is_wal(cursor: Any) -> bool:
    mode: str = cursor.execute("PRAGMA journal_mode").fetchone()[0]
    return mode == "wal"
