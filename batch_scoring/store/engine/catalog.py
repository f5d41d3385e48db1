"""What the database's own catalog records of a table: the kind of relation, its indexes and what it enforces.

SQLAlchemy's inspector does not report whether an index is valid, deferrable or covers the rows of child tables, so the
catalog is queried directly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from batch_scoring.domain.names import TableName
from batch_scoring.store.engine.names import driver_sql, quoted


class Relation(StrEnum):
    """Kind of what a job reads."""

    TABLE = "table"
    VIEW = "view"
    MATERIALIZED_VIEW = "materialized view"
    FOREIGN_TABLE = "foreign table"


@dataclass(frozen=True, kw_only=True, slots=True)
class Index:
    """An index, or the rowid that is SQLite's INTEGER PRIMARY KEY."""

    name: str
    columns: tuple[str | None, ...]
    """In order; None for an expression."""
    is_primary: bool = False
    is_unique: bool = False
    is_valid: bool = True
    is_immediate: bool = True
    """Not deferrable."""
    is_partial: bool = False
    is_exclusion: bool = False
    """WITHOUT OVERLAPS, whose last column is compared by overlap."""
    keeps_equality: bool = True
    """No two values that are equal in the column are different in the index."""
    keeps_order: bool = True
    """Has every row in the order in which the column is compared."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Structure:
    """How a table is built, as far as it decides what is enforced."""

    relation: Relation
    indexes: tuple[Index, ...] = ()
    children: tuple[str, ...] = ()
    """Tables that inherit from it: their rows are read with its own, outside its constraints."""
    not_null: frozenset[str] = frozenset()
    """Columns whose NOT NULL holds for every row."""
    not_null_not_valid: frozenset[str] = frozenset()
    """Columns whose NOT NULL was never checked for the rows that were there before it."""


def structure(connection: sa.Connection, table: TableName) -> Structure:
    """Look a table or view up. A database whose catalog is not known here enforces nothing that is relied upon."""
    read = {"postgresql": _of_postgresql, "sqlite": _of_sqlite}.get(connection.dialect.name)
    return Structure(relation=Relation.TABLE) if read is None else read(connection, table)


NAMED = (
    """(n.nspname = :schema OR (CAST(:schema AS text) IS NULL AND pg_table_is_visible(c.oid))) AND c.relname = :name"""
)
"""Condition of PostgreSQL on ``pg_class c`` and ``pg_namespace n``: the table of that name, as SQLAlchemy finds it."""

_KINDS = {"v": Relation.VIEW, "m": Relation.MATERIALIZED_VIEW, "f": Relation.FOREIGN_TABLE}

_RELATION = sa.text(
    f"""
    SELECT c.oid, CAST(c.relkind AS text),
      ARRAY(SELECT CAST(CAST(i.inhrelid AS regclass) AS text) FROM pg_inherits i
            WHERE i.inhparent = c.oid AND c.relkind <> 'p' ORDER BY 1),
      ARRAY(SELECT CAST(a.attname AS text) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnotnull),
      ARRAY(SELECT CAST(a.attname AS text) FROM pg_attribute a JOIN pg_constraint o ON o.conrelid = a.attrelid
              AND o.contype = 'n' AND o.conkey = ARRAY[a.attnum]
            WHERE a.attrelid = c.oid
              AND NOT (o.convalidated AND coalesce(to_jsonb(o) ->> 'conenforced', 'true') = 'true'))
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE {NAMED} AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    """  # noqa: S608 - a constant of this module
)

_INDEXES = sa.text(
    """
    SELECT CAST(i.relname AS text) AS name, x.indisprimary AS is_primary, x.indisunique AS is_unique,
      x.indisvalid AND x.indisready AND x.indislive AS is_valid, x.indimmediate AS is_immediate,
      x.indpred IS NOT NULL AS is_partial, x.indisexclusion AS is_exclusion,
      ARRAY(SELECT CAST(a.attname AS text) FROM generate_series(0, x.indnkeyatts - 1) k
            LEFT JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = x.indkey[k] ORDER BY k) AS columns,
      NOT EXISTS (SELECT FROM generate_series(0, x.indnkeyatts - 1) k
                  JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = x.indkey[k]
                  JOIN pg_collation o ON o.oid = a.attcollation
                  WHERE a.attcollation <> x.indcollation[k] AND NOT o.collisdeterministic) AS keeps_equality,
      m.amname = 'btree' AND NOT EXISTS (SELECT FROM generate_series(0, x.indnkeyatts - 1) k
                  JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = x.indkey[k]
                  WHERE a.attcollation <> x.indcollation[k]) AS keeps_order
    FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_am m ON m.oid = i.relam
    WHERE x.indrelid = :oid ORDER BY NOT x.indisprimary, i.relname
    """
)


def _of_postgresql(connection: sa.Connection, table: TableName) -> Structure:
    found = connection.execute(_RELATION, {"name": table.name, "schema": table.schema}).first()
    if found is None:
        return Structure(relation=Relation.VIEW)
    oid, kind, children, not_null, not_valid = found
    indexes = [
        Index(**{**row._asdict(), "columns": tuple(row.columns)}) for row in connection.execute(_INDEXES, {"oid": oid})
    ]
    return Structure(
        relation=_KINDS.get(kind, Relation.TABLE),
        indexes=tuple(indexes),
        children=tuple(children),
        not_null=frozenset(not_null) - frozenset(not_valid),
        not_null_not_valid=frozenset(not_valid),
    )


_COARSER = {"BINARY", "NOCASE", "RTRIM"}
"""SQLite's own collations: what is equal byte by byte is equal in each."""


def _of_sqlite(connection: sa.Connection, table: TableName) -> Structure:
    columns = pragma(connection, table, "table_xinfo")
    if not _is_table(connection, table):
        return Structure(relation=Relation.VIEW)
    primary = tuple(row.name for row in sorted(columns, key=lambda row: row.pk) if row.pk)
    indexes = [_sqlite_index(connection, table, row) for row in pragma(connection, table, "index_list")]
    not_null = {row.name for row in columns if row.notnull}
    if primary and not any(index.is_primary for index in indexes):
        # INTEGER PRIMARY KEY is the rowid itself: unique, never NULL, and the order of the table
        indexes.insert(0, Index(name="rowid", columns=primary, is_primary=True, is_unique=True))
        not_null |= set(primary)
    return Structure(relation=Relation.TABLE, indexes=tuple(indexes), not_null=frozenset(not_null))


def _is_table(connection: sa.Connection, table: TableName) -> bool:
    schema = quoted(connection.dialect, table.schema or "main")
    query = f"SELECT sql FROM {schema}.sqlite_master WHERE type = 'table' AND lower(name) = lower(?)"  # noqa: S608 - quoted
    found = connection.exec_driver_sql(query, (table.name,)).scalar_one_or_none()
    return found is not None and not found.upper().startswith("CREATE VIRTUAL")


def _sqlite_index(connection: sa.Connection, table: TableName, row: Any) -> Index:
    parts = [part for part in pragma(connection, table._replace(name=row.name), "index_xinfo") if part.key]
    return Index(
        name=row.name,
        columns=tuple(part.name for part in parts),
        is_primary=row.origin == "pk",
        is_unique=bool(row.unique),
        is_partial=bool(row.partial),
        keeps_equality=all(part.coll in _COARSER for part in parts),
        keeps_order=all(part.coll == "BINARY" for part in parts),
    )


def declared_in_sqlite(connection: sa.Connection, table: TableName) -> dict[str, str]:
    """The type of each column as it was declared; empty for ANY of a STRICT table, which is no type."""
    columns = pragma(connection, table, "table_xinfo")
    any_is_no_type = any(row.type.upper() == "ANY" for row in columns) and _is_strict(connection, table)
    return {row.name: "" if any_is_no_type and row.type.upper() == "ANY" else row.type for row in columns}


def _is_strict(connection: sa.Connection, table: TableName) -> bool:
    return any(row.strict for row in pragma(connection, table, "table_list") if row.type == "table")


def pragma(connection: sa.Connection, table: TableName, name: str) -> Sequence[Any]:
    schema = f"{quoted(connection.dialect, table.schema)}." if table.schema else ""
    statement = f"PRAGMA {schema}{name}({quoted(connection.dialect, table.name)})"
    return connection.exec_driver_sql(driver_sql(connection.dialect, statement)).all()
