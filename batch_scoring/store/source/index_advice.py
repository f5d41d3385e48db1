"""Indexes that a source lacks. They do not change the result of a run; with them its cost depends on new rows only."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.schema import CreateIndex

from batch_scoring.domain.job import Job
from batch_scoring.store.engine.catalog import Index, Relation
from batch_scoring.store.engine.dialects.dialect import Dialect
from batch_scoring.store.engine.dialects.registered import dialect_of
from batch_scoring.store.engine.names import exactly, statement_text
from batch_scoring.store.source.table import SourceTable


def advice(connection: sa.Connection, job: Job, source: SourceTable) -> list[str]:
    """Indexes that would make the job's runs faster, each with the statement that creates it."""
    table = source.table
    dialect = dialect_of(connection)
    built = dialect.structure(connection, source.place)
    wanted = [*source.key, *([job.source.changed_at] if job.source.lookback and job.source.changed_at else [])]
    if built.relation is Relation.VIEW:
        return [f"{table} is a view: make sure that its underlying tables have indexes on {', '.join(wanted)}"]
    if built.relation is Relation.FOREIGN_TABLE:
        return [
            f"{table} is a foreign table: make sure that the table on its server has indexes on {', '.join(wanted)}"
        ]
    indexed = [index.columns for index in built.indexes if _serves(index)]
    found = []
    if not _is_covered(source.key, indexed):
        found.append(
            f"no index of {table} begins with its key, so every chunk reads the whole table:"
            f" {_create_index(dialect, source, source.key)}"
        )
    if job.source.lookback and job.source.changed_at and not _is_covered([job.source.changed_at], indexed):
        found.append(
            f"no index of {table} begins with {job.source.changed_at}, so lookback reads the whole table:"
            f" {_create_index(dialect, source, [job.source.changed_at])}"
        )
    return found


def _serves(index: Index) -> bool:
    return index.is_valid and not index.is_partial and index.keeps_order


def _is_covered(columns: Sequence[str], indexed: Sequence[Sequence[str | None]]) -> bool:
    return any(list(names[: len(columns)]) == list(columns) for names in indexed)


def _create_index(dialect: Dialect, source: SourceTable, columns: Sequence[str]) -> str:
    table = sa.Table(
        exactly(source.table.name),
        sa.MetaData(),
        *(sa.Column(exactly(name)) for name in columns),
        schema=exactly(source.table.schema),
    )
    index = sa.Index(exactly(_index_name(source.table.name, columns, dialect.longest_name)), *table.c)
    return statement_text(CreateIndex(index), dialect.sqlalchemy)


def _index_name(table: str, columns: Sequence[str], longest: int | None) -> str:
    name = "_".join(["ix", table, *columns])
    if longest is None or len(name.encode()) <= longest:
        return name
    ending = f"_{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return name.encode()[: longest - len(ending)].decode(errors="ignore") + ending
