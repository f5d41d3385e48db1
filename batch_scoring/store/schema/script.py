"""The statements of an upgrade as text, to be reviewed and applied by a database administrator."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from batch_scoring.domain.job import Job
from batch_scoring.errors import (
    DatabaseFault,
    SourceFault,
)
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.dialects.dialect import Dialect
from batch_scoring.store.engine.dialects.registered import dialect_of
from batch_scoring.store.engine.names import statement_text
from batch_scoring.store.engine.sql_types import database_now
from batch_scoring.store.schema.job_tables import check_names, job_row, table_ddl, waiting_problem
from batch_scoring.store.schema.layout import PredictionsLayout, layout_of
from batch_scoring.store.schema.revision import alembic_config
from batch_scoring.store.schema.tables import scoring_jobs
from batch_scoring.store.schema.triggers import records_sql, trigger_sql
from batch_scoring.store.schema.views import gone_sql, job_sql, shared_sql, source_keys
from batch_scoring.store.source.table import SourceTable


@dataclass(frozen=True, kw_only=True, slots=True)
class Script:
    """The statements of an upgrade for one dialect."""

    sql: str
    left_out: tuple[str, ...]
    """Why the tables of some jobs are not in it."""


def script(database: Database, jobs: Sequence[Job], dialect: Dialect) -> Script:
    """Every statement of ``upgrade`` for a dialect, to be reviewed and applied manually.

    The tables of a job have the types of its source, which is looked up in the database. The types are translated if
    the database has another dialect. Raises ConfigurationError where a name is too long for the dialect.
    """
    layouts: list[tuple[Job, PredictionsLayout]] = []
    left_out: list[str] = []
    for job in jobs:
        try:
            with database.read() as connection:
                source = SourceTable.inspect(database, connection, job)
                layouts.append((job, _layout_in(dialect, source, job, connection)))
        except (SourceFault, DatabaseFault) as exc:
            reason = waiting_problem(job, exc).message
            left_out.append(f"the tables of job {job.name}, whose types come from its source: {reason}")
    return Script(sql=_schema_sql(dialect, layouts), left_out=tuple(left_out))


def _schema_sql(dialect: Dialect, layouts: Sequence[tuple[Job, PredictionsLayout]]) -> str:
    from alembic import command

    buffer = io.StringIO()
    config = alembic_config(buffer)
    config.attributes["dialect"] = dialect.sqlalchemy.name
    command.upgrade(config, "head", sql=True)
    parts = [buffer.getvalue().strip(), *(f"{statement};" for statement in records_sql(dialect))]
    for job, layout in layouts:
        check_names(dialect, job)
        parts.append(f"-- job {job.name}")
        parts += [
            f"{statement_text(element, dialect.sqlalchemy)};" for element in table_ddl(dialect.sqlalchemy, layout)
        ]
        parts += [f"{statement};" for statement in trigger_sql(dialect, layout)]
        parts += [f"{statement};" for statement in job_sql(dialect, layout, job.predictions.positive_label)]
        parts += [
            f"{statement};"
            for statement in gone_sql(dialect, layout, source_keys(dialect, job.source, job.source.table_name))
        ]
        row = job_row(job, layout)
        key_columns = sa.literal(json.dumps(row["key_columns"]), sa.String())
        insert = sa.insert(scoring_jobs).values({**row, "key_columns": key_columns, "created_at": database_now()})
        parts.append(f"{statement_text(insert, dialect.sqlalchemy)};")
    named = [(job.name, layout) for job, layout in layouts]
    parts += [f"{statement};" for statement in shared_sql(dialect, named)]
    return "\n\n".join(parts) + "\n"


def _layout_in(dialect: Dialect, source: SourceTable, job: Job, connection: sa.Connection) -> PredictionsLayout:
    """The job's layout, with the source's types translated to a dialect."""
    layout = layout_of(job, source)
    if dialect_of(connection) is dialect:
        return layout
    reflected = {
        column["name"]: column["type"]
        for column in sa.inspect(connection).get_columns(source.place.name, schema=source.place.schema)
    }

    def translated(name: str) -> str:
        declared = reflected[name]
        if isinstance(declared, sa.types.NullType):
            return "TEXT"
        return declared.as_generic(allow_nulltype=True).compile(dialect=dialect.sqlalchemy)

    return PredictionsLayout(
        table=layout.table,
        kind=layout.kind,
        key=tuple((name, translated(name)) for name in layout.key_names),
        changed_at_type=translated(source.changed_at) if source.changed_at else layout.changed_at_type,
    )
