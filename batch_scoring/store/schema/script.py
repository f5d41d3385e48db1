"""The statements of an upgrade as text, to be reviewed and applied by a database administrator."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.sql.ddl import DDLElement

from batch_scoring.domain.job import Job
from batch_scoring.errors import (
    DatabaseFault,
    SourceFault,
)
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.sql_types import database_now
from batch_scoring.store.schema.job_tables import check_names, job_row, table_ddl, waiting_problem
from batch_scoring.store.schema.layout import PredictionsLayout
from batch_scoring.store.schema.revision import alembic_config
from batch_scoring.store.schema.tables import scoring_jobs
from batch_scoring.store.schema.views import gone_sql, job_sql, shared_sql
from batch_scoring.store.source.table import Source


@dataclass(frozen=True, kw_only=True, slots=True)
class Script:
    """The statements of an upgrade for one dialect."""

    sql: str
    left_out: tuple[str, ...]
    """Why the tables of some jobs are not in it."""


def script(database: Database, jobs: Sequence[Job], dialect_name: str) -> Script:
    """Every statement of ``upgrade`` for a dialect, to be read and applied by hand.

    The tables of a job are typed after its source, which is looked up in the database; the types are said in the
    dialect's words where the database speaks another one.
    """
    layouts: list[tuple[Job, PredictionsLayout]] = []
    left_out: list[str] = []
    for job in jobs:
        try:
            with database.read() as connection:
                source = Source.inspect(database, connection, job)
                layouts.append((job, _layout_in(dialect_name, source, job, connection)))
        except (SourceFault, DatabaseFault) as exc:
            reason = waiting_problem(job, exc).message
            left_out.append(f"the tables of job {job.name}, whose types come from its source: {reason}")
    return Script(sql=_schema_sql(dialect_name, layouts), left_out=tuple(left_out))


_OFFLINE = {"postgresql": "postgresql+psycopg2://", "sqlite": "sqlite://"}


DIALECTS = tuple(_OFFLINE)


def _schema_sql(dialect_name: str, layouts: Sequence[tuple[Job, PredictionsLayout]]) -> str:
    from alembic import command

    dialect = sa.create_engine(_OFFLINE[dialect_name]).dialect
    buffer = io.StringIO()
    config = alembic_config(buffer)
    config.attributes["dialect"] = dialect_name
    command.upgrade(config, "head", sql=True)
    parts = [buffer.getvalue().strip()]
    for job, layout in layouts:
        check_names(dialect, job)
        parts.append(f"-- job {job.name}")
        parts += [f"{_printed(element, dialect)};" for element in table_ddl(dialect, layout)]
        parts += [f"{statement};" for statement in job_sql(dialect, layout, job.predictions.positive_label)]
        parts += [f"{statement};" for statement in gone_sql(dialect, layout, job.source)]
        row = job_row(job, layout)
        key_columns = sa.literal(json.dumps(row["key_columns"]), sa.String())
        insert = sa.insert(scoring_jobs).values({**row, "key_columns": key_columns, "created_at": database_now()})
        parts.append(f"{_printed(insert, dialect)};")
    named = [(job.name, layout) for job, layout in layouts]
    parts += [f"{statement};" for statement in shared_sql(dialect, named)]
    return "\n\n".join(parts) + "\n"


def _printed(statement: sa.ClauseElement, dialect: sa.Dialect) -> str:
    options = {} if isinstance(statement, DDLElement) else {"literal_binds": True}
    text = str(statement.compile(dialect=dialect, compile_kwargs=options)).strip()
    return text.replace("%%", "%") if dialect.paramstyle in ("format", "pyformat") else text


def _layout_in(dialect_name: str, source: Source, job: Job, connection: sa.Connection) -> PredictionsLayout:
    """The job's layout with the source's types said in a dialect's words."""
    layout = source.layout(job)
    if connection.dialect.name == dialect_name:
        return layout
    dialect = sa.create_engine(_OFFLINE[dialect_name]).dialect
    reflected = {
        column["name"]: column["type"]
        for column in sa.inspect(connection).get_columns(source.table.name, schema=source.table.schema)
    }

    def said(name: str) -> str:
        declared = reflected[name]
        if isinstance(declared, sa.types.NullType):
            return "TEXT"
        return declared.as_generic(allow_nulltype=True).compile(dialect=dialect)

    return PredictionsLayout(
        table=layout.table,
        kind=layout.kind,
        key=tuple((name, said(name)) for name in layout.key_names),
        changed_at_type=said(source.changed_at) if source.changed_at else layout.changed_at_type,
    )
