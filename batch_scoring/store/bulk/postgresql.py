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
from batch_scoring.store.engine.names import driver_sql, quoted
from batch_scoring.store.engine.sql_types import FOREVER

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
        return len(next(iter(self.columns.values())))

    def insert(self, connection: sa.Connection, constants: Mapping[str, Scalar]) -> int:
        """Insert with COPY."""
        if self.encoded is not None:
            names, form = [*self.encoded.names, *constants], "binary"
            content = self.encoded.stream(constants, {name: _ddl(self.table.c[name].type) for name in constants})
        else:
            names, content, form = [*self.columns, *constants], _csv(self.columns, constants), "csv"
        listed = ", ".join(quoted(connection.dialect, name) for name in names)
        target = quoted(connection.dialect, self.table.schema, self.table.name)
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

    def prepare(self, table: sa.Table, columns: Mapping[str, Column]) -> CopyRows:
        """Rows in COPY's binary format, or the columns if one of them has no encoder."""
        try:
            rows = binary.rows_of(columns, {name: _ddl(table.c[name].type) for name in columns})
        except binary.NotEncodable:
            return CopyRows(table=table, columns=columns, encoded=None)
        return CopyRows(table=table, columns=columns, encoded=rows)

    def close_current(
        self, connection: sa.Connection, table: sa.Table, keys: Mapping[str, Column], valid_to: datetime
    ) -> int:
        """Close all keys in one UPDATE, which is restricted to the range from the first to the last key."""
        names = [driver_sql(connection.dialect, quoted(connection.dialect, name)) for name in keys]
        types = [_ddl(table.c[name].type) for name in keys]
        texts = [_text(values) for values in keys.values()]
        arrays = ", ".join(f"CAST(%s AS {ddl}[])" for ddl in types)
        labels = ", ".join(f"k{i}" for i in range(len(names)))
        same = " AND ".join(f"outcome.{name} = closing.k{i}" for i, name in enumerate(names))
        key = ", ".join(f"outcome.{name}" for name in names)
        bound = ", ".join(f"CAST(%s AS {ddl})" for ddl in types)
        target = driver_sql(connection.dialect, quoted(connection.dialect, table.schema, table.name))
        statement = (
            f"UPDATE {target} AS outcome SET valid_to = %s"  # noqa: S608 - quoted identifiers
            f" FROM unnest({arrays}) AS closing({labels}) WHERE {same} AND outcome.valid_to = %s"
            f" AND ({key}) >= ({bound}) AND ({key}) <= ({bound})"
        )
        bounds = [text[i].as_py() for i in (0, -1) for text in texts]
        with _cursor(connection) as cursor:
            cursor.execute(statement, [valid_to, *map(_array_literal, texts), FOREVER, *bounds])
            closed: int = cursor.rowcount
        return closed


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
    compiled = query.compile(dialect=connection.dialect)
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
        texts = pc.binary_join_element_wise('"', quoted, '"', "")
    return "{" + ",".join(map(str, texts.to_pylist())) + "}"


def _csv(columns: Mapping[str, Column], constants: Mapping[str, Scalar]) -> bytes:
    count = len(next(iter(columns.values())))
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
