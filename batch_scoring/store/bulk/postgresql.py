"""Many rows at once, read and written by Arrow, on the connection and transaction SQLAlchemy holds.

Rows come as PostgreSQL's text records, in which an unquoted empty field is NULL and a quoted one the empty string.
They go by COPY in binary, or as CSV with quoting: in COPY's text format a line ``\\.`` would end the rows silently
and ``\\N`` would read as NULL.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import sqlalchemy as sa
from psycopg2 import extensions

from batch_scoring.store.bulk import Scalar, Values, binary
from batch_scoring.store.database import FOREVER, driver_sql, quoted

_BLOCK = 1 << 20
"""Bytes handed to the driver at once."""

_AS_ONE_TEXT = "SELECT string_agg(CAST(r AS text), E'\\n'), count(*) FROM (SELECT NULL, q.*, NULL FROM ({}) AS q) AS r"
"""The rows of a query as records in one value: COPY would hand them over one by one, each time letting go of the
interpreter's lock and waiting to get it back from the thread that scores."""

_TYPES: dict[str, pa.DataType] = {
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "text": pa.dictionary(pa.int32(), pa.string()),
    "date": pa.string(),
    "timestamp": pa.string(),
    "other": pa.string(),
    "unknown": pa.string(),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchedRecords:
    """Rows in the text form of PostgreSQL's records, a line each."""

    records: bytes | None
    count: int
    types: Sequence[pa.DataType]

    def columns(self) -> list[Values]:
        """Parse them into Arrow arrays."""
        if self.records is None:
            return [pa.array([], declared) for declared in self.types]
        return _parse(self.records, self.types)


class CopyBulk:
    """Arrow arrays; keys are whole numbers or the database's own text of them."""

    overlaps = True

    def fetch(self, connection: sa.Connection, query: sa.Select[Any], families: Sequence[str]) -> FetchedRecords:
        """Run a query; columns come typed by family, moments as text because Arrow's types do not hold all."""
        with _cursor(connection) as cursor:
            extensions.register_type(extensions.BYTES, cursor)
            cursor.execute(_AS_ONE_TEXT.format(_inlined(connection, query, cursor)))
            records, count = cursor.fetchone()
        return FetchedRecords(records=records, count=count, types=[_TYPES[family] for family in families])

    def insert(
        self,
        connection: sa.Connection,
        table: sa.Table,
        columns: Mapping[str, Values],
        constants: Mapping[str, Scalar],
    ) -> int:
        """COPY rows in: in the binary format, or as CSV where a column has no binary form here."""
        types = {name: _ddl(connection, table.c[name]) for name in (*columns, *constants)}
        try:
            content, form = binary.encode(columns, constants, types), "binary"
        except binary.NotEncodable:
            content, form = _csv(columns, constants), "csv"
        names = ", ".join(quoted(connection.dialect, name) for name in types)
        target = quoted(connection.dialect, table.schema, table.name)
        with _cursor(connection) as cursor:
            cursor.copy_expert(f"COPY {target} ({names}) FROM STDIN (FORMAT {form})", io.BytesIO(content), _BLOCK)
            written: int = cursor.rowcount
        return written

    def close_current(
        self, connection: sa.Connection, table: sa.Table, keys: Mapping[str, Values], valid_to: Any
    ) -> int:
        """Close all keys in one UPDATE."""
        dialect = connection.dialect
        names = [quoted(dialect, name) for name in keys]
        types = [_ddl(connection, table.c[name]) for name in keys]
        arrays = ", ".join(f"CAST(%s AS {ddl}[])" for ddl in types)
        labels = ", ".join(f"k{i}" for i in range(len(names)))
        same = " AND ".join(f"outcome.{name} = closing.k{i}" for i, name in enumerate(names))
        target = quoted(dialect, table.schema, table.name)
        statement = (
            f"UPDATE {driver_sql(dialect, target)} AS outcome SET valid_to = %s"  # noqa: S608 - quoted identifiers
            f" FROM unnest({arrays}) AS closing({labels}) WHERE {driver_sql(dialect, same)} AND outcome.valid_to = %s"
        )
        with _cursor(connection) as cursor:
            cursor.execute(statement, [valid_to, *(_text(values).to_pylist() for values in keys.values()), FOREVER])
            closed: int = cursor.rowcount
        return closed


def _cursor(connection: sa.Connection) -> Any:
    return connection.connection.cursor()


def _ddl(connection: sa.Connection, column: sa.Column[Any]) -> str:
    return column.type.compile(dialect=connection.dialect).partition(" COLLATE ")[0]


def _csv(columns: Mapping[str, Values], constants: Mapping[str, Scalar]) -> bytes:
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


def _inlined(connection: sa.Connection, query: sa.Select[Any], cursor: Any) -> str:
    """The query with its parameters written into it by the driver, to be put inside another."""
    compiled = query.compile(dialect=connection.dialect)
    text: str = cursor.mogrify(str(compiled), compiled.params).decode(cursor.connection.encoding or "utf-8")
    return text


def _parse(records: bytes, types: Sequence[pa.DataType]) -> list[Values]:
    names = [f"c{i}" for i in range(len(types))]
    table = pacsv.read_csv(
        pa.BufferReader(records),
        read_options=pacsv.ReadOptions(column_names=["open", *names, "close"], use_threads=False),
        parse_options=pacsv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        convert_options=pacsv.ConvertOptions(
            include_columns=names,
            column_types=dict(zip(names, types, strict=True)),
            null_values=[""],
            true_values=["t"],
            false_values=["f"],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    columns = [column.unify_dictionaries().combine_chunks() for column in table.columns]
    return [_without_escapes(column) for column in columns] if b"\\" in records else columns


def _without_escapes(values: pa.Array) -> pa.Array:
    """PostgreSQL doubles the backslashes of a record's fields."""
    if pa.types.is_dictionary(values.type):
        return pa.DictionaryArray.from_arrays(values.indices, _without_escapes(values.dictionary))
    return pc.replace_substring(values, "\\\\", "\\") if pa.types.is_string(values.type) else values


def _text(values: Values) -> pa.Array:
    """A column as COPY can write it."""
    array = values if isinstance(values, pa.Array) else pa.array(values)
    return array.cast(pa.string()) if pa.types.is_dictionary(array.type) else array


def _constant(value: Scalar) -> pa.Scalar:
    if isinstance(value, datetime):
        return pa.scalar(value.isoformat())
    return pa.scalar(value, pa.string()) if value is None else pa.scalar(value)
