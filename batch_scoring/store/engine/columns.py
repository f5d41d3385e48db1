"""Columns of a table as the database declares them, each with its family and its exact type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import sqlalchemy as sa

from batch_scoring.domain.column_types import Family


class Casting(Protocol):
    """A provider of SQL casts: the dialect of a database."""

    def cast(self, column: SourceColumn, kind: str) -> str:
        """The SQL expression that converts a column to a type that models take."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceColumn:
    """A column of the source as the database declares it."""

    name: str
    ddl: str
    family: Family
    nullable: bool
    base: str = ""
    """The type under every domain: its name in ``pg_type``, or the declared type of SQLite in capitals; array,
    composite, enum, range and range of times for types of these kinds."""
    dialect: Casting | None = None

    @property
    def is_padded(self) -> bool:
        """PostgreSQL's CHARACTER(n), which is padded with trailing blanks that are not part of the value."""
        return self.base == "bpchar"

    @property
    def is_inexact(self) -> bool:
        """Floating point."""
        return self.base in ("float4", "float8") or self.ddl.upper() in ("REAL", "FLOAT", "DOUBLE", "DOUBLE PRECISION")

    @property
    def can_be_key(self) -> bool:
        """Whether its values can be compared and are returned exactly as they were stored."""
        return self.family is not Family.OTHER or self.base in _KEYS

    def as_read(self, element: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """The column in a SELECT: PostgreSQL's cast to TEXT removes the padding of CHARACTER(n)."""
        return sa.cast(element, sa.Text) if self.is_padded else element

    def cast_to(self, kind: str) -> str:
        """The SQL expression that converts it to integer, number, boolean, text or timestamp, for a model's input."""
        assert self.dialect is not None
        return self.dialect.cast(self, kind)


_KEYS = {"inet", "cidr", "macaddr", "macaddr8", "bytea", "time", "timetz", "bit", "varbit", "xid8", "pg_lsn", "BLOB"}
"""Types that models do not take and that a key may have."""

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


def column_by_sqlalchemy(reflected: Any, driver: sa.Dialect, dialect: Casting) -> SourceColumn:
    """A column as SQLAlchemy's inspector reports it."""
    declared: sa.types.TypeEngine[Any] = reflected["type"]
    name, nullable = reflected["name"], reflected["nullable"]
    if isinstance(declared, sa.types.NullType):
        return SourceColumn(name=name, ddl="BLOB", family=Family.UNKNOWN, nullable=nullable, dialect=dialect)
    family = next((family for cls, family in _FAMILIES if isinstance(declared, cls)), Family.OTHER)
    ddl = declared.compile(dialect=driver)
    return SourceColumn(name=name, ddl=ddl, family=family, nullable=nullable, dialect=dialect)
