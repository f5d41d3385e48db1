"""Which indexes a source lacks. A run is right without them; with them it costs what its new rows cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import sqlalchemy as sa
from sqlalchemy.schema import CreateIndex

from batch_scoring.job import Job
from batch_scoring.store.database import exactly
from batch_scoring.store.source import Source


def advice(connection: sa.Connection, job: Job, source: Source) -> list[str]:
    """What would make the job's runs cheaper, each with the statement that does it."""
    inspector = sa.inspect(connection)
    table = source.table
    if table.name in inspector.get_view_names(schema=table.schema):
        wanted = [*source.key, *([job.source.changed_at] if job.source.lookback and job.source.changed_at else [])]
        return [f"{table} is a view: see that the tables under it have indexes on {', '.join(wanted)}"]
    indexed = list(_indexed(inspector, source))
    found = []
    if not _is_covered(source.key, indexed):
        found.append(
            f"no index of {table} begins with its key, so every chunk reads the whole table:"
            f" {_create_index(connection.dialect, source, source.key)}"
        )
    if job.source.lookback and job.source.changed_at and not _is_covered([job.source.changed_at], indexed):
        found.append(
            f"no index of {table} begins with {job.source.changed_at}, so lookback reads the whole table:"
            f" {_create_index(connection.dialect, source, [job.source.changed_at])}"
        )
    return found


def _indexed(inspector: sa.Inspector, source: Source) -> Iterator[Sequence[str | None]]:
    table = source.table
    yield inspector.get_pk_constraint(table.name, schema=table.schema)["constrained_columns"]
    for constraint in inspector.get_unique_constraints(table.name, schema=table.schema):
        yield constraint["column_names"]
    for index in inspector.get_indexes(table.name, schema=table.schema):
        if not any("where" in option for option in index.get("dialect_options", {})):
            yield index["column_names"]


def _is_covered(columns: Sequence[str], indexed: Sequence[Sequence[str | None]]) -> bool:
    return any(list(names[: len(columns)]) == list(columns) for names in indexed)


def _create_index(dialect: sa.Dialect, source: Source, columns: Sequence[str]) -> str:
    schema = exactly(source.table.schema) if source.table.schema else None
    table = sa.Table(
        exactly(source.table.name), sa.MetaData(), *(sa.Column(exactly(name)) for name in columns), schema=schema
    )
    index = sa.Index(exactly("_".join(["ix", source.table.name, *columns])[:63]), *table.c)
    statement = str(CreateIndex(index).compile(dialect=dialect))
    return statement.replace("%%", "%") if dialect.paramstyle in ("format", "pyformat") else statement
