"""Rows through COPY, parsed and written by Arrow, on the connection and transaction SQLAlchemy holds.

CSV with quoting is used both ways: a line ``\\.`` would end COPY's text format silently and ``\\N`` would read as
NULL. An unquoted empty field is NULL, a quoted one is the empty string.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import sqlalchemy as sa

from batch_scoring.store.bulk import Scalar, Values
from batch_scoring.store.database import FOREVER, driver_sql, quoted

_BYTE_ORDER_MARK = "\ufeff".encode()

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


class CopyBulk:
    """Arrow arrays; keys are the database's own text of them."""

    def fetch(self, connection: sa.Connection, query: sa.Select[Any], families: Sequence[str]) -> list[Values]:
        """COPY a query out; columns come typed by family, moments as text because Arrow's types do not hold all."""
        sink = io.BytesIO()
        sink.write(_BYTE_ORDER_MARK)  # Arrow drops one at the start, which else might be a key's own
        with _cursor(connection) as cursor:
            cursor.copy_expert(f"COPY ({_inlined(connection, query, cursor)}) TO STDOUT (FORMAT csv)", sink)
        types = [_TYPES[family] for family in families]
        if sink.tell() == len(_BYTE_ORDER_MARK):
            return [pa.array([], declared) for declared in types]
        return _parse(sink, types)

    def insert(
        self,
        connection: sa.Connection,
        table: sa.Table,
        columns: Mapping[str, Values],
        constants: Mapping[str, Scalar],
    ) -> int:
        """COPY rows in."""
        count = len(next(iter(columns.values())))
        arrays = [_text(values) for values in columns.values()]
        arrays += [pa.repeat(_constant(value), count) for value in constants.values()]
        source = io.BytesIO()
        pacsv.write_csv(
            pa.table(arrays, names=[f"c{i}" for i in range(len(arrays))]),
            source,
            pacsv.WriteOptions(include_header=False, quoting_style="needed"),
        )
        source.seek(0)
        names = ", ".join(quoted(connection.dialect, name) for name in [*columns, *constants])
        target = quoted(connection.dialect, table.schema, table.name)
        with _cursor(connection) as cursor:
            cursor.copy_expert(f"COPY {target} ({names}) FROM STDIN (FORMAT csv)", source)
            written: int = cursor.rowcount
        return written

    def close_current(
        self, connection: sa.Connection, table: sa.Table, keys: Mapping[str, Values], valid_to: Any
    ) -> int:
        """Close all keys in one UPDATE."""
        dialect = connection.dialect
        names = [quoted(dialect, name) for name in keys]
        types = [table.c[name].type.compile(dialect=dialect).partition(" COLLATE ")[0] for name in keys]
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


def _inlined(connection: sa.Connection, query: sa.Select[Any], cursor: Any) -> str:
    """The query with its parameters written into it by the driver: COPY takes none."""
    compiled = query.compile(dialect=connection.dialect)
    text: str = cursor.mogrify(str(compiled), compiled.params).decode(cursor.connection.encoding or "utf-8")
    return text


def _parse(csv: io.BytesIO, types: Sequence[pa.DataType]) -> list[Values]:
    csv.seek(0)
    names = [f"c{i}" for i in range(len(types))]
    table = pacsv.read_csv(
        csv,
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


def _text(values: Values) -> pa.Array:
    """A column as COPY can write it."""
    array = values if isinstance(values, pa.Array) else pa.array(values)
    return array.cast(pa.string()) if pa.types.is_dictionary(array.type) else array


def _constant(value: Scalar) -> pa.Scalar:
    if isinstance(value, datetime):
        return pa.scalar(value.isoformat())
    return pa.scalar(value, pa.string()) if value is None else pa.scalar(value)
