"""Identifiers, literals and statements as text.

Drivers whose parameters start with a percent sign require other percent
signs to be doubled in a statement with parameters; only this module does that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import overload

import sqlalchemy as sa
from sqlalchemy.sql.ddl import DDLElement


@overload
def exactly(name: str) -> str: ...


@overload
def exactly(name: None) -> None: ...


def exactly(name: str | None) -> str | None:
    """A name that SQLAlchemy always quotes, since its lists of reserved words are incomplete; None stays None."""
    return None if name is None else sa.quoted_name(name, quote=True)


def quoted(dialect: sa.Dialect, *names: str | None) -> str:
    """A name as the dialect writes it in SQL that takes no parameters; parts are joined by dots, None is left out."""
    quote = dialect.identifier_preparer.quote_identifier
    return _without_parameters(dialect, ".".join(quote(name) for name in names if name))


class NamedTable(sa.TableClause):
    """A table by its name and the columns that a statement uses.

    Without a schema it is in that of this package's tables, as ``sa.Table`` is, see ``Schemas``.
    """

    inherit_cache = True
    _use_schema_map = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Schemas:
    """The schemas of a session, for databases that look names up on a search path."""

    own: str
    """The schema of this package's tables, by which statements name them."""
    path: tuple[str, ...]
    """Those in which the session looks for names, in order."""
    trusted: tuple[str, ...]
    """Those of them in which nobody but their owners may create objects. Operators and functions are looked up there
    only: in another schema anybody could define one that fits better than that of the system (CVE-2018-1058)."""


def schemas_of(connection: sa.Connection) -> Schemas | None:
    """The schemas of a session; None where there is no search path."""
    found: Schemas | None = connection.info.get("batch_scoring_schemas")
    return found


def table_text(connection: sa.Connection, table: sa.Table) -> str:
    """The name of a table with its schema, in SQL that takes no parameters."""
    schemas = schemas_of(connection)
    return quoted(connection.dialect, table.schema or (schemas.own if schemas else None), table.name)


def literal(text: str) -> str:
    """A text as an SQL string literal."""
    escaped = text.replace("'", "''")
    return f"'{escaped}'"


def statement_text(statement: sa.ClauseElement, dialect: sa.Dialect) -> str:
    """A statement as text for scripts, with its values in place of parameters."""
    options = {} if isinstance(statement, DDLElement) else {"literal_binds": True}
    return _without_parameters(dialect, str(statement.compile(dialect=dialect, compile_kwargs=options)).strip())


def driver_sql(dialect: sa.Dialect, statement: str) -> str:
    """A statement without parameters, as ``exec_driver_sql`` takes it."""
    return statement.replace("%", "%%") if _doubles_percent_signs(dialect) else statement


def _without_parameters(dialect: sa.Dialect, text: str) -> str:
    return text.replace("%%", "%") if _doubles_percent_signs(dialect) else text


def _doubles_percent_signs(dialect: sa.Dialect) -> bool:
    return dialect.paramstyle in ("format", "pyformat")
