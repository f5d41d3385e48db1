"""Identifiers, literals and statements as text.

Drivers whose parameters start with a percent sign require other percent
signs to be doubled in a statement with parameters; only this module does that.
"""

from __future__ import annotations

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
