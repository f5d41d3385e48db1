"""What the database declares of a table's columns: each with its family and its exact type."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from batch_scoring.domain.column_types import Family
from batch_scoring.domain.names import TableName
from batch_scoring.store.engine.casts import cast_in_view
from batch_scoring.store.engine.catalog import NAMED, declared_in_sqlite


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
    dialect: str = ""

    @property
    def is_padded(self) -> bool:
        """PostgreSQL's CHARACTER(n): it comes with trailing blanks, which are no part of the value."""
        return self.base == "bpchar"

    @property
    def is_inexact(self) -> bool:
        """Floating point."""
        return self.base in ("float4", "float8") or self.ddl.upper() in ("REAL", "FLOAT", "DOUBLE", "DOUBLE PRECISION")

    @property
    def can_be_key(self) -> bool:
        """Its values are compared and come back exactly as they were read."""
        return self.family is not Family.OTHER or self.base in _KEYS

    def as_read(self, element: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """The column in a SELECT: PostgreSQL's cast to TEXT removes the blanks that fill a CHARACTER(n) up."""
        return sa.cast(element, sa.Text) if self.is_padded else element

    def cast_to(self, kind: str) -> str:
        """The expression of a view that makes it what a model takes (integer, number, boolean, text, timestamp)."""
        return cast_in_view(self.dialect, self.base, self.family, kind, self.name)


_KEYS = {"inet", "cidr", "macaddr", "macaddr8", "bytea", "time", "timetz", "bit", "varbit", "xid8", "pg_lsn", "BLOB"}
"""Types that no model takes and a key may have."""


def source_columns(connection: sa.Connection, table: TableName) -> dict[str, SourceColumn]:
    """The columns of a table or view in order. Raises sqlalchemy.exc.NoSuchTableError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sa.exc.SAWarning)  # a type that SQLAlchemy does not know is looked up here
        reflected = sa.inspect(connection).get_columns(table.name, schema=table.schema)
    read = {"postgresql": _of_postgresql, "sqlite": _of_sqlite}.get(connection.dialect.name, _of_any)
    return read(connection, table, reflected)


def _of_any(connection: sa.Connection, table: TableName, reflected: Any) -> dict[str, SourceColumn]:  # noqa: ARG001
    return {column["name"]: _by_sqlalchemy(column, connection.dialect) for column in reflected}


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


def _by_sqlalchemy(reflected: Any, dialect: sa.Dialect) -> SourceColumn:
    declared: sa.types.TypeEngine[Any] = reflected["type"]
    name, nullable = reflected["name"], reflected["nullable"]
    if isinstance(declared, sa.types.NullType):
        return SourceColumn(name=name, ddl="BLOB", family=Family.UNKNOWN, nullable=nullable, dialect=dialect.name)
    family = next((family for cls, family in _FAMILIES if isinstance(declared, cls)), Family.OTHER)
    ddl = declared.compile(dialect=dialect)
    return SourceColumn(name=name, ddl=ddl, family=family, nullable=nullable, dialect=dialect.name)


_TYPES = sa.text(
    f"""
    WITH RECURSIVE under (attname, declared, type, typmod, is_domain) AS (
      SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.atttypid, a.atttypmod, false
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
      WHERE {NAMED} AND a.attnum > 0 AND NOT a.attisdropped
      UNION ALL
      SELECT u.attname, u.declared, t.typbasetype, t.typtypmod, true
      FROM under u JOIN pg_type t ON t.oid = u.type WHERE t.typtype = 'd'
    )
    SELECT CAST(u.attname AS text) AS name, u.declared, u.is_domain, u.typmod,
      CAST(t.typname AS text), t.typcategory = 'A' AS is_array, CAST(t.typtype AS text),
      t.typtype = 'b' AND t.typcategory = 'S' AS is_text
    FROM under u JOIN pg_type t ON t.oid = u.type WHERE t.typtype <> 'd'
    """  # noqa: S608 - constants of this package
)

_KINDS = {"c": "composite", "e": "enum", "r": "range", "m": "range"}


def _base(row: Any) -> str:
    if row.is_array:
        return "array"
    kind = _KINDS.get(row.typtype, row.typname)
    return "range of times" if kind == "range" and row.typname.startswith(("ts", "date")) else kind


_BY_BASE: Mapping[str, Family] = {
    "bool": Family.BOOLEAN,
    **dict.fromkeys(("int2", "int4", "int8", "oid"), Family.INTEGER),
    **dict.fromkeys(("float4", "float8", "numeric"), Family.NUMBER),
    **dict.fromkeys(("timestamp", "timestamptz"), Family.TIMESTAMP),
    "date": Family.DATE,
    **dict.fromkeys(("uuid", "enum", "char"), Family.TEXT),
}


def _of_postgresql(connection: sa.Connection, table: TableName, reflected: Any) -> dict[str, SourceColumn]:
    types = {row.name: row for row in connection.execute(_TYPES, {"name": table.name, "schema": table.schema})}
    found = {}
    for column in reflected:
        name, declared, row = column["name"], column["type"], types[column["name"]]
        base = _base(row)
        # SQLAlchemy's words are those under which the tables of jobs were created
        is_its_own = row.is_domain or isinstance(declared, sa.types.NullType)
        is_its_own |= base == "char" or (base == "bpchar" and row.typmod < 0)
        found[name] = SourceColumn(
            name=name,
            ddl=row.declared if is_its_own else declared.compile(dialect=connection.dialect),
            family=Family.TEXT if row.is_text else _BY_BASE.get(base, Family.OTHER),
            nullable=column["nullable"],
            base=base,
            dialect="postgresql",
        )
    return found


def _of_sqlite(connection: sa.Connection, table: TableName, reflected: Any) -> dict[str, SourceColumn]:
    declared = declared_in_sqlite(connection, table)
    found = {}
    for column in reflected:
        name = column["name"]
        by_sqlalchemy = _by_sqlalchemy(column, connection.dialect)
        base = re.sub(r"\s*\(.*", "", declared[name]).strip().upper()
        found[name] = SourceColumn(
            name=name,
            ddl=by_sqlalchemy.ddl if base else "BLOB",
            family=_sqlite_family(base, by_sqlalchemy.family),
            nullable=column["nullable"],
            base="BLOB" if "BLOB" in base else base,
            dialect="sqlite",
        )
    return found


def _sqlite_family(base: str, family: Family) -> Family:
    if "BLOB" in base:
        return Family.OTHER
    is_of_no_type = not any(part in base for part in _SQLITE_NUMERIC)
    # a name that SQLite knows nothing of has NUMERIC affinity, and such columns hold text as often as numbers
    return Family.UNKNOWN if family is Family.NUMBER and is_of_no_type else family


_SQLITE_NUMERIC = ("NUMERIC", "DECIMAL", "DEC", "REAL", "FLOA", "DOUB", "NUMBER", "MONEY", "CURRENCY", "FIXED")
