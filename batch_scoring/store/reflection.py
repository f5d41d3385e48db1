"""What the database says of a table: its columns by family, and its indexes."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.exc import NoSuchTableError

from batch_scoring.job import TableName


class Family(StrEnum):
    """What a column of the source holds, as far as it matters for a model."""

    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    TEXT = "text"
    DATE = "date"
    TIMESTAMP = "timestamp"
    OTHER = "other"
    UNKNOWN = "unknown"
    """The database itself does not say, as for the columns of an SQLite view."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceColumn:
    """A column of the source as the database declares it."""

    name: str
    ddl: str
    family: Family
    nullable: bool


class IndexedColumns(NamedTuple):
    """The columns of an index in order, None for an expression, and whether it keeps them unique."""

    names: tuple[str | None, ...]
    unique: bool


def indexed_columns(inspector: sa.Inspector, table: TableName) -> list[IndexedColumns]:
    """Every index and constraint of a table that covers all its rows; none of a view."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sa.exc.SAWarning)  # an index that cannot be described is none to us
        try:
            primary = inspector.get_pk_constraint(table.name, schema=table.schema)["constrained_columns"]
            unique = inspector.get_unique_constraints(table.name, schema=table.schema)
            indexes = inspector.get_indexes(table.name, schema=table.schema)
        except NoSuchTableError:  # a view
            return []
    found = [IndexedColumns(tuple(names), True) for names in (primary, *(c["column_names"] for c in unique))]
    return found + [
        IndexedColumns(tuple(index["column_names"]), bool(index["unique"]))
        for index in indexes
        if not any("where" in option for option in index.get("dialect_options", {}))
    ]


_FAMILIES: tuple[tuple[type[sa.types.TypeEngine[Any]], Family], ...] = (
    (sa.Boolean, Family.BOOLEAN),
    (sa.Integer, Family.INTEGER),
    (sa.Numeric, Family.NUMBER),
    (sa.Float, Family.NUMBER),
    (sa.DateTime, Family.TIMESTAMP),
    (sa.Date, Family.DATE),
    (sa.Uuid, Family.TEXT),
    (sa.Enum, Family.TEXT),
    (sa.String, Family.TEXT),
)


def source_column(reflected: Any, dialect: sa.Dialect) -> SourceColumn:
    """A reflected column by its family and exact DDL."""
    declared: sa.types.TypeEngine[Any] = reflected["type"]
    if isinstance(declared, sa.types.NullType):
        return SourceColumn(name=reflected["name"], ddl="BLOB", family=Family.UNKNOWN, nullable=reflected["nullable"])
    underlying = getattr(declared, "data_type", declared)  # a PostgreSQL domain is of its base type's family
    family = next((family for cls, family in _FAMILIES if isinstance(underlying, cls)), Family.OTHER)
    return SourceColumn(
        name=reflected["name"],
        ddl=declared.compile(dialect=dialect),
        family=family,
        nullable=reflected["nullable"],
    )
