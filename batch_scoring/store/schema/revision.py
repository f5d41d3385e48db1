"""The schema revision of a database, and Alembic's configuration."""

from __future__ import annotations

import io
from typing import Any

import sqlalchemy as sa

from batch_scoring.domain.names import TableName
from batch_scoring.errors import (
    SchemaOutOfDate,
)
from batch_scoring.resources import resource
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.names import NamedTable
from batch_scoring.store.engine.reflection import has_table
from batch_scoring.store.schema.tables import SCHEMA_REVISION


def check_revision(connection: sa.Connection) -> None:
    """Raise SchemaOutOfDate where the database's schema revision is not that of this package."""
    found = current_revision(connection)
    if found != SCHEMA_REVISION:
        raise unknown_revision(found)


def check_schema(database: Database) -> None:
    """As ``check_revision``, in its own transaction. Raises SchemaOutOfDate, DatabaseFault."""
    with database.read() as connection:
        check_revision(connection)


def unknown_revision(found: str | None) -> SchemaOutOfDate:
    state = "has no batch_scoring schema" if found is None else f"has schema revision {found}"
    return SchemaOutOfDate(
        f"the database {state}, this version works with {SCHEMA_REVISION};"
        " run `batch-scoring db upgrade` (or upgrade batch_scoring, if the database is newer)",
        found=found,
    )


def current_revision(connection: sa.Connection) -> str | None:
    if not has_table(connection, TableName(None, "alembic_version")):
        return None
    number: sa.ColumnClause[str] = sa.column("version_num")
    return connection.execute(sa.select(number).select_from(NamedTable("alembic_version", number))).scalar_one_or_none()


def alembic_config(buffer: io.StringIO | None = None) -> Any:
    from alembic.config import Config

    config = Config(stdout=io.StringIO(), output_buffer=buffer)
    config.set_main_option("script_location", str(resource("sql") / "migrations").replace("%", "%%"))
    return config
