"""Upgrade a database to this version's schema: the fixed tables with Alembic, and the tables of each job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from batch_scoring.domain.job import Job
from batch_scoring.errors import (
    Problem,
    SourceFault,
)
from batch_scoring.store.engine.database import Database
from batch_scoring.store.schema.job_tables import (
    create_tables,
    dependent_statements,
    needs_versions,
    own_schema,
    qualified,
    shared_statements,
    trusted_schemas,
    waiting_problem,
)
from batch_scoring.store.schema.layout import layout_of
from batch_scoring.store.schema.retype import execute, retype_versions
from batch_scoring.store.schema.revision import alembic_config, current_revision, unknown_revision
from batch_scoring.store.schema.tables import SCHEMA_REVISION
from batch_scoring.store.schema.triggers import records_sql
from batch_scoring.store.source import index_advice
from batch_scoring.store.source.table import SourceTable


@dataclass(frozen=True, kw_only=True, slots=True)
class Upgrade:
    """The result of an upgrade."""

    revision_before: str | None
    revision: str
    created: tuple[str, ...]
    """Predictions tables that were created."""
    versioned: tuple[str, ...]
    """Predictions tables whose source_changed_at was changed to the type of the job's new changed_at. They hold no
    versions yet, so the next run scores every row again."""
    waiting: tuple[Problem, ...]
    """Jobs whose tables could not be created yet, and why."""
    advice: tuple[str, ...]
    """Indexes on the sources that would make runs faster."""


def upgrade(database: Database, jobs: Sequence[Job]) -> Upgrade:
    """Apply migrations, create the tables of each job and replace the views, in one transaction.

    An upgrade is idempotent, and concurrent upgrades are serialized. A job whose source does not exist yet is listed in
    ``waiting``; its tables are created by the next upgrade or by its first run. Raises SchemaOutOfDate where the
    database is newer than this package, ConfigurationError and DatabaseFault.
    """
    from alembic import command
    from alembic.util.exc import CommandError

    created: list[str] = []
    versioned: list[str] = []
    waiting: list[Problem] = []
    advice: list[str] = []
    with database.write(create=True) as connection:
        database.dialect.lock_schema(connection)
        before = current_revision(connection)
        config = alembic_config()
        config.attributes["connection"] = connection
        config.attributes["schema"] = own_schema(connection)
        try:
            command.upgrade(config, "head")
        except CommandError as exc:
            raise unknown_revision(before) from exc
        execute(connection, records_sql(database.dialect, trusted_schemas(connection), own_schema(connection)))
        for job in jobs:
            try:
                source = SourceTable.inspect(database, connection, job)
                layout = layout_of(job, source)
            except SourceFault as exc:
                waiting.append(waiting_problem(job, exc))
                continue
            dependent = dependent_statements(connection, job, layout)
            if needs_versions(connection, job, layout):
                retype_versions(connection, layout, qualified(connection, layout), dependent)
                versioned.append(job.predictions.table)
            if create_tables(connection, job, layout):
                created.append(job.predictions.table)
            advice += index_advice.advice(connection, job, source)
            execute(connection, dependent)
        execute(connection, shared_statements(connection))
    return Upgrade(
        revision_before=before,
        revision=SCHEMA_REVISION,
        created=tuple(created),
        versioned=tuple(versioned),
        waiting=tuple(waiting),
        advice=tuple(advice),
    )
