"""The registry of dialects. A new dialect is registered here, or by the code that defines it."""

from __future__ import annotations

import sqlalchemy as sa

from batch_scoring.store.engine.dialects.dialect import Dialect
from batch_scoring.store.engine.dialects.postgresql.dialect import PostgreSQL
from batch_scoring.store.engine.dialects.sqlite.dialect import SQLite

_registered: dict[str, Dialect] = {}


def register_dialect(dialect: Dialect) -> None:
    """Register a dialect under its name, which is also the scheme of its URLs."""
    _registered[dialect.name] = dialect


def dialect_named(name: str) -> Dialect:
    """A dialect by its name. Raises KeyError."""
    return _registered[name]


def dialects() -> list[Dialect]:
    """All dialects in the order of their registration."""
    return list(_registered.values())


def dialect_of(connection: sa.Connection) -> Dialect:
    """The dialect of a connection that a Database has opened."""
    dialect: Dialect = connection.get_execution_options()["batch_scoring_dialect"]
    return dialect


register_dialect(PostgreSQL())
register_dialect(SQLite())
