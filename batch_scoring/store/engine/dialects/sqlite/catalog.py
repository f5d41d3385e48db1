"""Read the structure of a table from SQLite with PRAGMA."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from batch_scoring.domain.column_types import Family
from batch_scoring.domain.names import TableName
from batch_scoring.store.engine.catalog import Index, Relation, Structure
from batch_scoring.store.engine.columns import Casting, SourceColumn, column_by_sqlalchemy
from batch_scoring.store.engine.names import driver_sql, quoted

_COARSER = {"BINARY", "NOCASE", "RTRIM"}
"""SQLite's built-in collations, in each of which identical texts are equal."""


def structure(connection: sa.Connection, table: TableName) -> Structure:
    columns = _pragma(connection, table, "table_xinfo")
    if not _is_table(connection, table):
        return Structure(relation=Relation.VIEW)
    primary = tuple(row.name for row in sorted(columns, key=lambda row: row.pk) if row.pk)
    indexes = [_sqlite_index(connection, table, row) for row in _pragma(connection, table, "index_list")]
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
    parts = [part for part in _pragma(connection, table._replace(name=row.name), "index_xinfo") if part.key]
    return Index(
        name=row.name,
        columns=tuple(part.name for part in parts),
        is_primary=row.origin == "pk",
        is_unique=bool(row.unique),
        is_partial=bool(row.partial),
        keeps_equality=all(part.coll in _COARSER for part in parts),
        keeps_order=all(part.coll == "BINARY" for part in parts),
    )


def _declared(connection: sa.Connection, table: TableName) -> dict[str, str]:
    """The type of each column as it was declared; empty for ANY of a STRICT table, which is not a type."""
    columns = _pragma(connection, table, "table_xinfo")
    any_is_no_type = any(row.type.upper() == "ANY" for row in columns) and _is_strict(connection, table)
    return {row.name: "" if any_is_no_type and row.type.upper() == "ANY" else row.type for row in columns}


def _is_strict(connection: sa.Connection, table: TableName) -> bool:
    return any(row.strict for row in _pragma(connection, table, "table_list") if row.type == "table")


def _pragma(connection: sa.Connection, table: TableName, name: str) -> Sequence[Any]:
    schema = f"{quoted(connection.dialect, table.schema)}." if table.schema else ""
    statement = f"PRAGMA {schema}{name}({quoted(connection.dialect, table.name)})"
    return connection.exec_driver_sql(driver_sql(connection.dialect, statement)).all()


def columns(connection: sa.Connection, table: TableName, reflected: Any, dialect: Casting) -> dict[str, SourceColumn]:
    declared = _declared(connection, table)
    found = {}
    for column in reflected:
        name = column["name"]
        by_sqlalchemy = column_by_sqlalchemy(column, connection.dialect, dialect)
        base = re.sub(r"\s*\(.*", "", declared[name]).strip().upper()
        found[name] = SourceColumn(
            name=name,
            ddl=by_sqlalchemy.ddl if base else "BLOB",
            family=_sqlite_family(base, by_sqlalchemy.family),
            nullable=column["nullable"],
            base="BLOB" if "BLOB" in base else base,
            dialect=dialect,
        )
    return found


def _sqlite_family(base: str, family: Family) -> Family:
    if "BLOB" in base:
        return Family.OTHER
    is_of_no_type = not any(part in base for part in _SQLITE_NUMERIC)
    # a type name that SQLite does not know has NUMERIC affinity, but such columns often hold text
    return Family.UNKNOWN if family is Family.NUMBER and is_of_no_type else family


_SQLITE_NUMERIC = ("NUMERIC", "DECIMAL", "DEC", "REAL", "FLOA", "DOUB", "NUMBER", "MONEY", "CURRENCY", "FIXED")
