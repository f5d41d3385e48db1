"""The columns of a table or view as the database declares them."""

from __future__ import annotations

import warnings

import sqlalchemy as sa

from batch_scoring.domain.names import TableName
from batch_scoring.store.engine.columns import SourceColumn
from batch_scoring.store.engine.dialects.registered import dialect_of


def source_columns(connection: sa.Connection, table: TableName) -> dict[str, SourceColumn]:
    """The columns of a table or view in order. Raises sqlalchemy.exc.NoSuchTableError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sa.exc.SAWarning)  # a type that SQLAlchemy does not know is looked up here
        found = located(connection, table)
        reflected = sa.inspect(connection).get_columns(found.name, schema=found.schema)
    return dialect_of(connection).columns(connection, found, reflected)


def located(connection: sa.Connection, table: TableName) -> TableName:
    """A table with its schema, where the database has a search path."""
    return dialect_of(connection).located(connection, table)


def has_table(connection: sa.Connection, table: TableName) -> bool:
    """Whether there is a table or view of this name."""
    found = located(connection, table)
    return sa.inspect(connection).has_table(found.name, schema=found.schema)
