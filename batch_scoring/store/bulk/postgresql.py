"""Bulk reads and writes with Arrow, on the connection and transaction of SQLAlchemy.

Rows are read packed, as one value a column, or by COPY if that fails. They are written by COPY in binary format, or as
CSV with quoting: in COPY's text format, a line ``\\.`` would end the rows silently and ``\\N`` would read as NULL.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2

from batch_scoring.domain.column_types import Family
from batch_scoring.domain.columns import Column
from batch_scoring.errors import DatabaseFault, TooMuchAtOnce
from batch_scoring.files.buffers import arrow_buffer
from batch_scoring.store.bulk import binary
from batch_scoring.store.bulk.contract import Scalar
from batch_scoring.store.bulk.packed import NEVER_EMPTY, SEPARATOR, TYPES, NotPacked, null_of, unpack
from batch_scoring.store.engine.names import driver_sql, quoted, table_text

_BLOCK = 1 << 20
"""Bytes passed to the driver at once."""

_DIALECT: sa.Dialect = PGDialect_psycopg2()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped

_TEXT = re.compile(r"TEXT|VARCHAR(\(\d+\))?")
"""Types that are text already."""

_TOO_LARGE = {"54000", "53200"}
"""SQLSTATEs of a value larger than 1 GB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CopyRows:
    """n rows for COPY: encoded in its binary format, or as columns that are sent as CSV."""

    table: sa.Table
    columns: Mapping[str, Column]
    encoded: binary.Rows | None

    def __len__(self) -> int:
        return _count(self.columns)

    def write(self, connection: sa.Connection, constants: Mapping[str, Scalar]) -> int:
        """Insert with COPY."""
        if self.encoded is not None:
            names, form = [*self.encoded.names, *constants], "binary"
            content = self.encoded.stream(constants, {name: _ddl(self.table.c[name].type) for name in constants})
        else:
            names, content, form = [*self.columns, *constants], _csv(self.columns, constants), "csv"
        listed = ", ".join(quoted(connection.dialect, name) for name in names)
        target = table_text(connection, self.table)
        with _cursor(connection) as cursor:
            cursor.copy_expert(f"COPY {target} ({listed}) FROM STDIN (FORMAT {form})", io.BytesIO(content), _BLOCK)
            written: int = cursor.rowcount
        return written


class CopyBulk:
    """Columns are Arrow arrays. Keys are integers or the database's text form of them; timestamps are text."""

    reads_while_writing = True

    def fetch(self, connection: sa.Connection, query: sa.Select[Any], families: Sequence[Family]) -> list[Column]:
        """Run a query; columns have the Arrow type of their family. Raises DatabaseFault, TooMuchAtOnce."""
        try:
            return _fetch_packed(connection, query, families)
        except (NotPacked, UnicodeDecodeError):  # a database of SQL_ASCII may hold any bytes
            try:
                return _fetch_csv(connection, query, families)
            except pa.ArrowInvalid:  # its text quotes the value
                raise DatabaseFault(
                    "a value of the source is not of the type that its column had when the run started"
                ) from None
        except sa.exc.DBAPIError as exc:
            if getattr(exc.orig, "pgcode", None) not in _TOO_LARGE:
                raise
            raise TooMuchAtOnce("a chunk takes more than PostgreSQL's 1 GB a value; set [run] chunk_rows") from exc

    def prepare_insert(self, table: sa.Table, columns: Mapping[str, Column]) -> CopyRows:
        """Rows in COPY's binary format, or the columns if one of them has no encoder."""
        try:
            rows = binary.rows_of(columns, {name: _ddl(table.c[name].type) for name in columns})
        except binary.NotEncodable:
            return CopyRows(table=table, columns=columns, encoded=None)
        return CopyRows(table=table, columns=columns, encoded=rows)

    def prepare_update(
        self, table: sa.Table, columns: Mapping[str, Column], *, unchanged_since: datetime
    ) -> UpdatedRows:
        """Rows as arrays in PostgreSQL's text form."""
        arrays = {name: _array_literal(_text(values)) for name, values in columns.items()}
        keys = {column.name: _text(columns[column.name]) for column in table.primary_key}
        return UpdatedRows(
            table=table, arrays=arrays, bounds=_bounds(keys), count=_count(columns), unchanged_since=unchanged_since
        )

    def move(
        self,
        connection: sa.Connection,
        current: sa.Table,
        past: sa.Table,
        keys: Mapping[str, Column],
        constants: Mapping[str, Scalar],
    ) -> int:
        """Copy the rows with one INSERT, then delete them with one DELETE, both restricted to the range of the keys."""
        arrays = {name: _array_literal(_text(values)) for name, values in keys.items()}
        given, same, values = _joined(connection, current, arrays, _bounds({k: _text(v) for k, v in keys.items()}))
        names = [_name(connection, column.name) for column in current.columns]
        source = driver_sql(connection.dialect, table_text(connection, current))
        target = driver_sql(connection.dialect, table_text(connection, past))
        listed = ", ".join([*names, *(_name(connection, name) for name in constants)])
        chosen = ", ".join([*(f"outcome.{name}" for name in names), *("%s" for _ in constants)])
        copy = f"INSERT INTO {target} ({listed}) SELECT {chosen} FROM {source} AS outcome, {given} WHERE {same}"  # noqa: S608
        delete = f"DELETE FROM {source} AS outcome USING {given} WHERE {same}"  # noqa: S608 - quoted identifiers
        with _cursor(connection) as cursor:
            cursor.execute(copy, [*constants.values(), *values])
            cursor.execute(delete, values)
            moved: int = cursor.rowcount
        return moved


@dataclass(frozen=True, kw_only=True, slots=True)
class UpdatedRows:
    """n rows for one UPDATE, as an array literal for each column."""

    table: sa.Table
    arrays: Mapping[str, str]
    bounds: Sequence[Sequence[Any]]
    """The first and the last key."""
    unchanged_since: datetime
    count: int

    def __len__(self) -> int:
        return self.count

    def write(self, connection: sa.Connection, constants: Mapping[str, Scalar]) -> int:
        """Update all rows with one UPDATE, which is restricted to the range from the first to the last key."""
        given, same, values = _joined(connection, self.table, self.arrays, self.bounds)
        places = {name: f"given.c{i}" for i, name in enumerate(self.arrays)} | dict.fromkeys(constants, "%s")
        keys = {column.name for column in self.table.primary_key}
        written = [column.name for column in self.table.columns if column.name not in keys]
        settings = ", ".join(f"{_name(connection, name)} = {places.get(name, 'NULL')}" for name in written)
        target = driver_sql(connection.dialect, table_text(connection, self.table))
        statement = (
            f"UPDATE {target} AS outcome SET {settings} FROM {given}"  # noqa: S608 - quoted names
            f" WHERE {same} AND outcome.valid_from <= %s"
        )
        with _cursor(connection) as cursor:
            own = [constants[name] for name in written if name in constants]
            cursor.execute(statement, [*own, *values, self.unchanged_since])
            updated: int = cursor.rowcount
        return updated


def _joined(
    connection: sa.Connection, table: sa.Table, arrays: Mapping[str, str], bounds: Sequence[Sequence[Any]]
) -> tuple[str, str, list[Any]]:
    """The rows as a table ``given``, the condition that joins them with ``outcome``, and the parameters of both."""
    types = [_ddl(table.c[name].type) for name in arrays]
    places = {name: f"c{i}" for i, name in enumerate(arrays)}
    keys = [column.name for column in table.primary_key]
    given = f"unnest({', '.join(f'CAST(%s AS {ddl}[])' for ddl in types)}) AS given({', '.join(places.values())})"
    own = [f"outcome.{_name(connection, name)}" for name in keys]
    bound = ", ".join(f"CAST(%s AS {_ddl(table.c[name].type)})" for name in keys)
    same = " AND ".join(f"{column} = given.{places[name]}" for column, name in zip(own, keys, strict=True))
    row = ", ".join(own)
    return (
        given,
        f"{same} AND ({row}) >= ({bound}) AND ({row}) <= ({bound})",
        [*arrays.values(), *(value for bound in bounds for value in bound)],
    )


def _bounds(keys: Mapping[str, pa.Array]) -> Sequence[Sequence[Any]]:
    return [[values[position].as_py() for values in keys.values()] for position in (0, -1)]


def _count(columns: Mapping[str, Column]) -> int:
    return len(next(iter(columns.values())))


def _name(connection: sa.Connection, *parts: str | None) -> str:
    """A quoted name for a statement with parameters of the driver."""
    return driver_sql(connection.dialect, quoted(connection.dialect, *parts))


def _fetch_packed(connection: sa.Connection, query: sa.Select[Any], families: Sequence[Family]) -> list[Column]:
    rows = query.subquery("packed")
    packed = [
        sa.func.string_agg(sa.func.coalesce(_text_of(column, family), null_of(family)), SEPARATOR)
        for column, family in zip(rows.c, families, strict=True)
    ]
    if query.get_execution_options().get("reads_a_range"):
        # an index returns the rows in order; by default the planner sorts them if it estimates large tables
        connection.exec_driver_sql("SET LOCAL enable_sort = off")
    with connection.begin_nested():  # an error for a value that is too large must not abort the transaction
        count, *found = connection.execute(sa.select(sa.func.count(), *packed).select_from(rows)).one()
    return [unpack(text, count, family) for text, family in zip(found, families, strict=True)]


def _text_of(column: sa.ColumnElement[Any], family: Family) -> sa.ColumnElement[Any]:
    """A value in the database's text form."""
    if family in NEVER_EMPTY:
        return sa.cast(column, sa.Text)
    if not isinstance(column.type, sa.types.NullType) and _TEXT.fullmatch(_ddl(column.type)):
        return column
    return sa.case((column.is_not(None), sa.func.concat(column)))


def _fetch_csv(connection: sa.Connection, query: sa.Select[Any], families: Sequence[Family]) -> list[Column]:
    """Read by COPY, which is slower, but CSV quoting separates values whatever the texts contain."""
    names = connection.get_execution_options().get("schema_translate_map")
    compiled = query.compile(
        dialect=connection.dialect, schema_translate_map=names, render_schema_translate=bool(names)
    )
    sink = io.BytesIO()
    with _cursor(connection) as cursor:
        text = cursor.mogrify(str(compiled), compiled.params).decode(cursor.connection.encoding or "utf-8")
        cursor.copy_expert(f"COPY ({text}) TO STDOUT (FORMAT csv)", sink)
    return _parse(sink.getbuffer(), [TYPES.get(family, pa.string()) for family in families])


def _cursor(connection: sa.Connection) -> Any:
    return connection.connection.cursor()


def _ddl(declared: sa.types.TypeEngine[Any]) -> str:
    return declared.compile(dialect=_DIALECT).partition(" COLLATE ")[0]


def _array_literal(texts: pa.Array) -> str:
    """An array literal for PostgreSQL, which parses it a thousand times faster than a list of literals."""
    if pa.types.is_string(texts.type):
        quoted = pc.replace_substring(pc.replace_substring(texts, "\\", "\\\\"), '"', '\\"')
        texts = pc.binary_join_element_wise('"', quoted, '"', "").fill_null("NULL")
    return "{" + ",".join("NULL" if value is None else str(value) for value in texts.to_pylist()) + "}"


def _csv(columns: Mapping[str, Column], constants: Mapping[str, Scalar]) -> bytes:
    count = _count(columns)
    arrays = [_text(values) for values in columns.values()]
    arrays += [pa.repeat(_constant(value), count) for value in constants.values()]
    sink = io.BytesIO()
    pacsv.write_csv(
        pa.table(arrays, names=[f"c{i}" for i in range(len(arrays))]),
        sink,
        pacsv.WriteOptions(include_header=False, quoting_style="needed"),
    )
    return sink.getvalue()


def _parse(rows: Any, types: Sequence[pa.DataType]) -> list[Column]:
    names = [f"c{i}" for i in range(len(types))]
    if not len(rows):
        return [pa.array([], declared) for declared in types]
    table = pacsv.read_csv(
        pa.BufferReader(arrow_buffer(rows)),
        read_options=pacsv.ReadOptions(column_names=names, use_threads=False),
        parse_options=pacsv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        convert_options=pacsv.ConvertOptions(
            column_types=dict(zip(names, types, strict=True)),
            null_values=[""],
            true_values=["t"],
            false_values=["f"],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    return [column.unify_dictionaries().combine_chunks() for column in table.columns]


def _text(values: Column) -> pa.Array:
    """A column in a form that COPY can write."""
    array = values if isinstance(values, pa.Array) else pa.array(values)
    if pa.types.is_fixed_size_binary(array.type):
        return pa.array([f"\\x{value.hex()}" for value in array.to_pylist()], pa.string())
    return array.cast(pa.string()) if pa.types.is_dictionary(array.type) else array


def _constant(value: Scalar) -> pa.Scalar:
    if isinstance(value, datetime):
        return pa.scalar(value.isoformat())
    return pa.scalar(value, pa.string()) if value is None else pa.scalar(value)
