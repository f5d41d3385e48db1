"""Which indexes a source lacks. A run is right without them; with them it costs what its new rows cost."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.schema import CreateIndex

from batch_scoring.job import Job
from batch_scoring.store.database import exactly
from batch_scoring.store.reflection import indexed_columns
from batch_scoring.store.source import Source

_LONGEST_NAME = 63
"""Bytes of a name in PostgreSQL."""


def advice(connection: sa.Connection, job: Job, source: Source) -> list[str]:
    """What would make the job's runs cheaper, each with the statement that does it."""
    inspector = sa.inspect(connection)
    table = source.table
    if table.name in inspector.get_view_names(schema=table.schema):
        wanted = [*source.key, *([job.source.changed_at] if job.source.lookback and job.source.changed_at else [])]
        return [f"{table} is a view: see that the tables under it have indexes on {', '.join(wanted)}"]
    indexed = [index.names for index in indexed_columns(inspector, table)]
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


def _is_covered(columns: Sequence[str], indexed: Sequence[Sequence[str | None]]) -> bool:
    return any(list(names[: len(columns)]) == list(columns) for names in indexed)


def _create_index(dialect: sa.Dialect, source: Source, columns: Sequence[str]) -> str:
    schema = exactly(source.table.schema) if source.table.schema else None
    table = sa.Table(
        exactly(source.table.name), sa.MetaData(), *(sa.Column(exactly(name)) for name in columns), schema=schema
    )
    index = sa.Index(exactly(_index_name(source.table.name, columns)), *table.c)
    statement = str(CreateIndex(index).compile(dialect=dialect))
    return statement.replace("%%", "%") if dialect.paramstyle in ("format", "pyformat") else statement


def _index_name(table: str, columns: Sequence[str]) -> str:
    name = "_".join(["ix", table, *columns])
    if len(name.encode()) <= _LONGEST_NAME:
        return name
    ending = f"_{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return name.encode()[: _LONGEST_NAME - len(ending)].decode(errors="ignore") + ending
