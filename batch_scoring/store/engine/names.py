"""Identifiers and statements as drivers take them."""

from __future__ import annotations

import sqlalchemy as sa


def exactly(name: str) -> str:
    """A name that SQLAlchemy quotes whatever it is: no list of reserved words is whole."""
    return sa.quoted_name(name, quote=True)


def quoted(dialect: sa.Dialect, *names: str | None) -> str:
    """A name as the dialect writes it in SQL that takes no parameters; parts are joined by dots, None is left out."""
    quote = dialect.identifier_preparer.quote_identifier
    text = ".".join(quote(name) for name in names if name)
    # drivers whose parameters begin with a percent sign want it doubled in statements that have parameters
    return text.replace("%%", "%") if dialect.paramstyle in ("format", "pyformat") else text


def driver_sql(dialect: sa.Dialect, statement: str) -> str:
    """A statement without parameters, as ``exec_driver_sql`` takes it."""
    return statement.replace("%", "%%") if dialect.paramstyle in ("format", "pyformat") else statement
