"""Bringing a database to this version's schema: Alembic for the fixed tables, the layout for each job's own."""

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
    needs_versions,
    registered_layouts,
    view_statements,
    waiting_problem,
)
from batch_scoring.store.schema.layout import layout_of
from batch_scoring.store.schema.retype import execute, retype_versions
from batch_scoring.store.schema.revision import alembic_config, current_revision, unknown_revision
from batch_scoring.store.schema.tables import SCHEMA_REVISION
from batch_scoring.store.schema.views import shared_sql
from batch_scoring.store.source import index_advice
from batch_scoring.store.source.table import SourceTable


@dataclass(frozen=True, kw_only=True, slots=True)
class Upgrade:
    """What an upgrade did."""

    revision_before: str | None
    revision: str
    created: tuple[str, ...]
    """Predictions tables that were made."""
    versioned: tuple[str, ...]
    """Predictions tables whose source_changed_at was given the type of a changed_at that the job names now. They hold
    no version yet, so the next run scores every row again."""
    waiting: tuple[Problem, ...]
    """Jobs whose tables could not be made yet, and why."""
    advice: tuple[str, ...]
    """Indexes of the sources that would make runs cheaper."""


def upgrade(database: Database, jobs: Sequence[Job]) -> Upgrade:
    """Apply migrations, make each job's tables and renew the views, all in one transaction.

    Doing it again changes nothing, and two at once take turns. A job whose source does not exist yet is named in
    ``waiting``; its tables are made by the next upgrade or by its first run.
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
        try:
            command.upgrade(config, "head")
        except CommandError as exc:
            raise unknown_revision(before) from exc
        for job in jobs:
            try:
                source = SourceTable.inspect(database, connection, job)
                layout = layout_of(job, source)
            except SourceFault as exc:
                waiting.append(waiting_problem(job, exc))
                continue
            views = view_statements(connection, job, layout)
            if needs_versions(connection, job, layout):
                retype_versions(connection, layout, views)
                versioned.append(job.predictions.table)
            if create_tables(connection, job, layout):
                created.append(job.predictions.table)
            advice += index_advice.advice(connection, job, source)
            execute(connection, views)
        execute(connection, shared_sql(database.dialect, registered_layouts(connection)))
    return Upgrade(
        revision_before=before,
        revision=SCHEMA_REVISION,
        created=tuple(created),
        versioned=tuple(versioned),
        waiting=tuple(waiting),
        advice=tuple(advice),
    )
