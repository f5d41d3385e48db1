"""What a database can do and how it is spoken to, as far as it differs from one database to another.

A new database is a subclass of ``Dialect``: its capabilities are attributes, and what its driver or catalog does in its
own way are methods. The defaults are those of a database of which nothing is known: nothing is enforced, no strategy
but the portable one moves its rows. ``tests/store/conformance`` holds what every dialect must do.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import sqlalchemy as sa

from batch_scoring import errors
from batch_scoring.domain.names import TableName
from batch_scoring.errors import DatabaseFault
from batch_scoring.store.engine import addresses
from batch_scoring.store.engine.catalog import Relation, Structure
from batch_scoring.store.engine.columns import SourceColumn, column_by_sqlalchemy
from batch_scoring.store.engine.names import quoted
from batch_scoring.store.engine.timeouts import Timeouts

Casts = Mapping[str, str]
"""By what the model takes (integer, number, boolean, text, timestamp). An integer may be read as a number; the text is
for every other kind."""

_UNQUOTED = re.compile(r"[a-z_][a-z0-9_]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class ConditionSyntax:
    """What a condition in SQL may hold that is no code: quoted text and comments."""

    skipped: re.Pattern[str]
    """Matches a whole quoted text or comment."""
    quotes: str = "'\""
    """Characters that open a quoted text."""
    nests_comments: bool = True
    """A ``/*`` inside a comment opens another one."""


class Dialect:
    """One database."""

    name: ClassVar[str]
    """As options, settings and messages name it, and the scheme of its URLs."""
    product: ClassVar[str]
    """As people call it."""
    driver: ClassVar[str]
    """SQLAlchemy's name of database and driver where a URL names no driver, such as ``postgresql+psycopg2``."""
    templates: ClassVar[str]
    """The variant of the templates under ``sql/`` that is written in its words."""

    is_file: ClassVar[bool] = False
    """The database is a file, created by the first connection to it."""
    longest_name: ClassVar[int | None] = None
    """Bytes of an identifier, where longer ones are cut off silently; None where there is no such limit."""
    folds_names: ClassVar[bool] = False
    """Column names that differ only in case are the same name, whether they are quoted or not."""
    enforces_types: ClassVar[bool] = True
    """A column holds values of its declared type only."""
    changes_column_types: ClassVar[bool] = True
    """The type of an empty column can be changed in place."""
    has_time_zones: ClassVar[bool] = True
    """Sessions have a time zone, and timestamps may carry one."""
    has_roles: ClassVar[bool] = True
    """It has roles, and privileges on tables, views and functions."""
    has_functions: ClassVar[bool] = False
    """The views of a job come with functions (``as_of``, ``gone``)."""
    can_end_sessions: ClassVar[bool] = False
    """The sessions of a frozen process can be ended from another one."""
    locks_rows: ClassVar[bool] = True
    """Writers lock the rows they write; otherwise they lock the whole database and take turns."""
    key_collation: ClassVar[str | None] = None
    """The collation in which text keys are compared exactly, where a column's own may not do so."""
    differs: ClassVar[str] = "IS DISTINCT FROM"
    """The operator that is true where two values differ, NULL being a value."""
    inserts_many_values: ClassVar[bool] = True
    """One INSERT of many rows reports how many were written."""
    pings: ClassVar[bool] = True
    """A pooled connection may have been lost and is tested before it is used."""
    bulk: ClassVar[Mapping[str, Literal["copy", "sqlite"]]] = {}
    """The fast strategy of moving rows by SQLAlchemy's name of the driver; others use the portable one."""

    casts: ClassVar[tuple[Mapping[str, Casts], Mapping[str, Casts]]] = ({}, {"other": {"text": "{}"}})
    """The casts of a view by base type, and by family."""
    conditions: ClassVar[ConditionSyntax] = ConditionSyntax(
        skipped=re.compile(r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | --[^\n\r]*""", re.VERBOSE | re.DOTALL)
    )

    def __reduce__(self) -> tuple[type[Dialect], tuple[()]]:
        """It has no state but what its class says."""
        return type(self), ()

    @cached_property
    def sqlalchemy(self) -> sa.Dialect:
        """SQLAlchemy's dialect, for statements that are compiled without a connection."""
        return sa.make_url(f"{self.driver}://").get_dialect()()

    def quoted(self, *names: str | None) -> str:
        """A name in SQL that takes no parameters; parts are joined by dots, None is left out."""
        return quoted(self.sqlalchemy, *names)

    def readable(self, name: str) -> str:
        """A name as people write it in SQL: in quotes only where it needs them."""
        if _UNQUOTED.fullmatch(name) and name not in self.sqlalchemy.identifier_preparer.reserved_words:
            return name
        doubled = name.replace('"', '""')
        return f'"{doubled}"'

    # --- connections

    def checked_url(self, url: sa.URL) -> sa.URL:
        """The URL with a driver. Raises ConfigurationError where this package cannot work with it."""
        return url

    def file_of(self, url: sa.URL) -> Path | None:  # noqa: ARG002 - for databases that are files
        """The file that is the database, where it is one."""
        return None

    def connect_arguments(self, url: sa.URL, timeouts: Timeouts) -> dict[str, Any]:  # noqa: ARG002
        """Arguments of the driver's ``connect``."""
        return {}

    def on_connect(self, dbapi_connection: Any, url: sa.URL) -> None:
        """Prepare a connection that was just made."""

    def begin(self, connection: sa.Connection, *, writes: bool, label: str, timeouts: Timeouts) -> None:
        """Begin a transaction: one that writes, or one that only reads and sees one state of the database."""

    def fault(self, exc: BaseException | None, url: sa.URL, *, lost: bool) -> DatabaseFault:
        """What an error of the driver means; ``lost`` where the connection cannot be used any more."""
        message = f"the database at {addresses.shown(url)} failed ({type(exc).__name__})"
        return errors.ConnectionLost(message) if lost else DatabaseFault(message)

    def refusal(self, driver_error: Any, columns: Collection[str]) -> tuple[str | None, str] | None:  # noqa: ARG002
        """The column, where it is known, and why a row was refused; None where it was for another reason."""
        return None

    def end_sessions(self, connection: sa.Connection, label: str) -> None:
        """End every session that carries a label, where ``can_end_sessions``."""

    def lock_schema(self, connection: sa.Connection) -> None:
        """Let one transaction change the schema at a time, until it ends."""

    def check_deferred(self, connection: sa.Connection) -> None:
        """Check constraints now that would be checked when the transaction commits."""

    def search_path(self, connection: sa.Connection) -> list[str]:  # noqa: ARG002
        """The schemas in which a name without one is looked up."""
        return []

    # --- the catalog

    def columns(self, connection: sa.Connection, table: TableName, reflected: Any) -> dict[str, SourceColumn]:  # noqa: ARG002
        """The columns of a table that SQLAlchemy's inspector reports, with what it does not report."""
        return {column["name"]: column_by_sqlalchemy(column, connection.dialect, self) for column in reflected}

    def structure(self, connection: sa.Connection, table: TableName) -> Structure:  # noqa: ARG002
        """How a table is built; a database whose catalog is not known here enforces nothing that is relied upon."""
        return Structure(relation=Relation.TABLE)

    def hides_rows(self, connection: sa.Connection, table: TableName) -> bool:  # noqa: ARG002
        """Whether row-level security may hide rows of a table from this user."""
        return False

    def cast(self, column: SourceColumn, kind: str) -> str:
        """The expression of a view that makes a column what a model takes.

        Where there is none of that kind, it is one of text, for a model that was trained on text.
        """
        by_base, by_family = self.casts
        casts = by_base.get(column.base) or by_family.get(column.family) or by_family["other"]
        template = casts.get(kind) or (casts.get("number") if kind == "integer" else None) or casts["text"]
        return template.replace("{}", self.readable(column.name))
