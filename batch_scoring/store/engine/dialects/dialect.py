"""The capabilities of a database, and the operations that differ between databases.

A new database is a subclass of ``Dialect``: its capabilities are attributes, and operations that depend on its driver
or catalog are methods. The defaults are those of an unknown database: nothing is enforced, and rows are moved by the
portable strategy. ``tests/store/conformance`` tests what every dialect must do.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import sqlalchemy as sa

from batch_scoring import errors
from batch_scoring.domain.names import TableName
from batch_scoring.errors import DatabaseFault
from batch_scoring.store.engine import addresses
from batch_scoring.store.engine.catalog import Relation, Structure
from batch_scoring.store.engine.columns import SourceColumn, column_by_sqlalchemy
from batch_scoring.store.engine.names import Schemas, literal, quoted
from batch_scoring.store.engine.timeouts import Timeouts

if TYPE_CHECKING:
    from batch_scoring.store.engine.expressions import ExpressionSyntax

Casts = Mapping[str, str]
"""SQL expressions by type of the model's input (integer, number, boolean, text, timestamp). ``number`` is also used for
integer, and ``text`` for every type that is missing."""

_UNQUOTED = re.compile(r"[a-z_][a-z0-9_]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class ConditionSyntax:
    """The lexical syntax of a condition in SQL: quoted text and comments."""

    skipped: re.Pattern[str]
    """Matches a complete quoted text or comment."""
    quotes: str = "'\""
    """Characters that open a quoted text."""
    nests_comments: bool = True
    """Comments with ``/*`` can be nested."""


class Dialect:
    """A kind of database."""

    name: ClassVar[str]
    """The name in options, settings and messages, and the scheme of its URLs."""
    product: ClassVar[str]
    """The product name."""
    driver: ClassVar[str]
    """SQLAlchemy's name of database and driver where a URL names no driver, such as ``postgresql+psycopg2``."""
    templates: ClassVar[str]
    """The variant of the templates under ``sql/`` for it."""

    is_file: ClassVar[bool] = False
    """The database is a file, created by the first connection to it."""
    longest_name: ClassVar[int | None] = None
    """The longest identifier in bytes, if longer ones are truncated silently; None without such a limit."""
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
    row_place: ClassVar[str | None] = None
    """The system column with the physical place of a row; None if rows have none, or it is the primary key."""
    can_end_sessions: ClassVar[bool] = False
    """Another session can terminate the sessions of a frozen process."""
    locks_rows: ClassVar[bool] = True
    """Writers lock the rows that they write; otherwise each writer locks the entire database."""
    temporary_schema: ClassVar[str | None] = None
    """The schema of temporary tables, by which they are named."""
    key_collation: ClassVar[str | None] = None
    """The collation for an exact comparison of text keys, if a column's own collation may not be exact."""
    differs: ClassVar[str] = "IS DISTINCT FROM"
    """The operator for a comparison in which NULL is a value."""
    inserts_many_values: ClassVar[bool] = True
    """One INSERT of many rows reports how many were written."""
    pings: ClassVar[bool] = True
    """A pooled connection may have been lost and is tested before it is used."""
    bulk: ClassVar[Mapping[str, Literal["copy", "sqlite"]]] = {}
    """The fast bulk strategy by SQLAlchemy's name of the driver; other drivers use the portable strategy."""

    casts: ClassVar[tuple[Mapping[str, Casts], Mapping[str, Casts]]] = ({}, {"other": {"text": "{}"}})
    """The casts of a view by base type, and by family."""
    conditions: ClassVar[ConditionSyntax] = ConditionSyntax(
        skipped=re.compile(r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | --[^\n\r]*""", re.VERBOSE | re.DOTALL)
    )

    def __reduce__(self) -> tuple[type[Dialect], tuple[()]]:
        """Pickle the class; a dialect has no state of its own."""
        return type(self), ()

    @property
    def expressions(self) -> ExpressionSyntax | None:
        """How it computes models; None if it does not."""
        return None

    @cached_property
    def sqlalchemy(self) -> sa.Dialect:
        """SQLAlchemy's dialect, for statements that are compiled without a connection."""
        return sa.make_url(f"{self.driver}://").get_dialect()()

    def quoted(self, *names: str | None) -> str:
        """A name in SQL that takes no parameters; parts are joined by dots, None is left out."""
        return quoted(self.sqlalchemy, *names)

    def json_text(self, value: str, key: str) -> str:
        """The expression for the text of a key of a JSON object, in the SQL of a trigger."""
        return f"({value} ->> {literal(key)})"

    def readable(self, name: str) -> str:
        """A name in SQL, quoted only where it is necessary."""
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
        """Prepare a new connection."""

    def schemas(self, dbapi_connection: Any) -> Schemas | None:  # noqa: ARG002
        """The schemas of a new connection's session; None where there is no search path."""
        return None

    def begin(self, connection: sa.Connection, *, writes: bool, label: str, timeouts: Timeouts) -> None:
        """Begin a transaction: one that writes, or a read-only one on a single snapshot of the database."""

    def fault(self, exc: BaseException | None, url: sa.URL, *, lost: bool) -> DatabaseFault:
        """Map an error of the driver to an error of this package; ``lost`` if the connection is unusable."""
        message = f"the database at {addresses.shown(url)} failed ({type(exc).__name__})"
        return errors.ConnectionLost(message) if lost else DatabaseFault(message)

    def refusal(self, driver_error: Any, columns: Collection[str]) -> tuple[str | None, str] | None:  # noqa: ARG002
        """The column, where it is known, and why a row was refused; None where it was for another reason."""
        return None

    def end_sessions(self, connection: sa.Connection, label: str) -> None:
        """Terminate every session with a label, if ``can_end_sessions``."""

    def lock_schema(self, connection: sa.Connection) -> None:
        """Take a lock until the end of the transaction, so that only one at a time changes the schema."""

    def may_insert(self, connection: sa.Connection, table: str) -> bool:  # noqa: ARG002
        """Whether this user has the privilege to insert into one of the fixed tables."""
        return True

    def login(self, connection: sa.Connection) -> str | None:  # noqa: ARG002
        """The login as the database knows it; None where it has no logins."""
        return None

    def lock_name(self, connection: sa.Connection, name: str) -> None:
        """Take a lock on a name until the end of the transaction, so that writers of what it names take turns."""

    def prepare_for_expressions(self, connection: sa.Connection, *, reads_ranges: bool) -> None:
        """Set what makes the computation of models fast, until the end of the transaction.

        ``reads_ranges`` tells that statements join all rows of a range of keys.
        """

    def check_deferred(self, connection: sa.Connection) -> None:
        """Check constraints now that would be checked when the transaction commits."""

    def located(self, connection: sa.Connection, table: TableName) -> TableName:  # noqa: ARG002
        """A table with the schema in which it is found, if it names none."""
        return table

    # --- the catalog

    def columns(self, connection: sa.Connection, table: TableName, reflected: Any) -> dict[str, SourceColumn]:  # noqa: ARG002
        """The columns of a table that SQLAlchemy's inspector reports, with what it does not report."""
        return {column["name"]: column_by_sqlalchemy(column, connection.dialect, self) for column in reflected}

    def structure(self, connection: sa.Connection, table: TableName) -> Structure:  # noqa: ARG002
        """The structure of a table; without knowledge of the catalog, no constraint is relied upon."""
        return Structure(relation=Relation.TABLE)

    def hides_rows(self, connection: sa.Connection, table: TableName) -> bool:  # noqa: ARG002
        """Whether row-level security may hide rows of a table from this user."""
        return False

    def cast(self, column: SourceColumn, kind: str) -> str:
        """The SQL expression that converts a column to a type of a model's input.

        If there is none for that type, the expression converts it to text, for a model that is trained on text.
        """
        by_base, by_family = self.casts
        casts = by_base.get(column.base) or by_family.get(column.family) or by_family["other"]
        template = casts.get(kind) or (casts.get("number") if kind == "integer" else None) or casts["text"]
        return template.replace("{}", self.readable(column.name))
