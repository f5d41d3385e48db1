"""Convert the fields of a CSV file to the columns of a table, and check each value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from batch_scoring.counting import counted
from batch_scoring.errors import InputFault
from batch_scoring.files.columns import (
    Column,
    Kind,
    kind_of,
    missing_note,
    plain_integers,
    plain_numbers,
    trimmed,
    without_markers,
)
from batch_scoring.files.csv_table import CsvTable
from batch_scoring.files.format import PLAIN

NOTHING_LOADED = "; nothing was loaded"

TYPES: dict[Kind, sa.types.TypeEngine[Any]] = {
    Kind.INTEGER: sa.BigInteger(),
    Kind.NUMBER: sa.Numeric(),
    Kind.BOOLEAN: sa.Boolean(),
    Kind.DATE: sa.Date(),
    Kind.TIMESTAMP: sa.Text(),
    Kind.TEXT: sa.Text(),
    Kind.EMPTY: sa.Text(),
}
"""The types of a new table. Numbers are NUMERIC: exact, and able to store decimals in later loads."""

_ANY_NUMBER = r"^\s*[+-]?(?:\d[\d{thousands}]*(?:{point}\d*)?|{point}\d+)(?:[eE][+-]?\d+)?\s*$"
_INTEGER = r"^-?\d+(?:\.0*)?$"
_TRUE = ["true", "t", "yes", "y", "on", "1", "1.0"]
_FALSE = ["false", "f", "no", "n", "off", "0", "0.0"]
_BOOLEAN = rf"^\s*(?i:{'|'.join([*_TRUE, *_FALSE])})\s*$".replace(".0", r"\.0")
_DATE = r"^\s*\d{4}-\d\d-\d\d(?:[T ]00:00(?::00(?:\.0*)?)?)?\s*$"
_TIMESTAMP = r"^\s*\d{4}-\d\d-\d\d(?:[T ]\d\d(?::?\d\d){0,2}(?:\.\d+)?(?: ?(?:Z|[+-]\d\d(?::?\d\d)?))?)?\s*$"
_ANY = r"^(?s:.*\S.*)$"


@dataclass(frozen=True, kw_only=True, slots=True)
class TableColumn:
    """A column of a table as its database declares it."""

    name: str
    declared: sa.types.TypeEngine[Any]
    ddl: str
    nullable: bool


class Converter:
    """Converts the fields of one file to the columns of one table; ``notes`` lists values that were read as missing."""

    def __init__(self, rows: CsvTable, table: str, *, enforces_types: bool) -> None:
        self.notes: list[str] = []
        self._rows = rows
        self._table = table
        self._enforces_types = enforces_types

    def of_kind(self, column: Column) -> pa.Array:
        """The values of a new table's column."""
        self.notes += column.notes
        if column.kind is Kind.INTEGER:
            return column.values.cast(pa.int64())
        if column.kind is Kind.BOOLEAN:
            return column.values.cast(pa.bool_())
        return self._stored(column.values) if column.kind is Kind.NUMBER else column.values

    def of_column(self, column: TableColumn) -> pa.Array:
        """The values of an existing column. Raises InputFault naming the first line whose value it does not take."""
        values = self._rows.columns[column.name]
        convert = next((convert for type_, convert in self._converters() if isinstance(column.declared, type_)), None)
        converted: pa.Array = convert(values, column) if convert else values
        if not column.nullable and converted.null_count:
            row = pc.index(converted.is_null(), True).as_py()
            self._refuse(
                column, row, f"a value is missing where {self._table} needs one (NOT NULL)", converted.null_count
            )
        return converted

    def _converters(self) -> Sequence[tuple[Any, Callable[[pa.Array, TableColumn], pa.Array]]]:
        return (
            (sa.Boolean, self._booleans),
            (sa.Integer, self._integers),
            ((sa.Numeric, sa.Float), self._numbers),
            (sa.DateTime, self._timestamps),
            (sa.Date, self._dates),
            (sa.Uuid, self._others),
            (sa.String, self._texts),
        )

    def _booleans(self, values: pa.Array, column: TableColumn) -> pa.Array:
        typed = self._typed(values, column, _BOOLEAN, Kind.BOOLEAN)
        texts = pc.utf8_lower(trimmed(typed))
        return pc.if_else(texts.is_null(), pa.scalar(None, pa.bool_()), pc.is_in(texts, pa.array(_TRUE)))

    def _integers(self, values: pa.Array, column: TableColumn) -> pa.Array:
        integers = _cast(values, pa.int64()) if self._rows.form == PLAIN else None
        if integers is None:
            numbers = plain_numbers(self._typed(values, column, self._number_pattern, Kind.INTEGER), self._rows.form)
            self._refuse_others(column, pc.match_substring_regex(numbers, _INTEGER))
            texts = plain_integers(numbers)
            integers = _cast(texts, pa.int64())
            if integers is None:
                fits = [text is None or -(2**63) <= int(text) < 2**63 for text in texts.to_pylist()]
                self._refuse_others(column, pa.array(fits), "a number beyond the range of")
        bits = _bits(column.declared) if self._enforces_types else 63
        inside = pc.and_(pc.greater_equal(integers, -(2**bits)), pc.less_equal(integers, 2**bits - 1))
        self._refuse_others(column, inside, "a number beyond the range of")
        return integers

    def _numbers(self, values: pa.Array, column: TableColumn) -> pa.Array:
        floats = _cast(values, pa.float64()) if self._rows.form == PLAIN else None
        if floats is None or not pc.all(pc.is_finite(floats)).as_py():
            typed = self._typed(values, column, self._number_pattern, Kind.NUMBER)
            values = plain_numbers(typed, self._rows.form)
            floats = values.cast(pa.float64())
            if not isinstance(column.declared, sa.Float):
                self._refuse_others(column, pc.is_finite(floats), "a number beyond the range of")
        precision, scale = getattr(column.declared, "precision", None), getattr(column.declared, "scale", None)
        if precision and self._enforces_types and not isinstance(column.declared, sa.Float):
            limit = pc.less(pc.abs(floats), 10.0 ** (precision - (scale or 0)))
            self._refuse_others(column, limit, "a number beyond the range of")
        if isinstance(column.declared, sa.Float):
            self._refuse_others(column, pc.is_finite(floats), "a number beyond the range of")
            return floats
        return self._stored(values)

    @property
    def _number_pattern(self) -> str:
        form = self._rows.form
        thousands = (form.thousands or "").replace(".", r"\.")
        return _ANY_NUMBER.format(point=r"\." if form.decimal == "." else ",", thousands=thousands)

    def _stored(self, numbers: pa.Array) -> pa.Array:
        """Numbers as text, which PostgreSQL converts exactly; SQLite may not convert text to the nearest float."""
        if self._enforces_types:
            return numbers
        floats = numbers.cast(pa.float64())
        is_exact = pc.all(pc.less(pc.abs(floats), 2.0**53)).as_py() is not False
        return floats if is_exact else numbers

    def _dates(self, values: pa.Array, column: TableColumn) -> pa.Array:
        typed = self._typed(values, column, _ANY if self._enforces_types else _DATE, Kind.DATE)
        days = trimmed(typed)
        if not pc.all(pc.match_substring_regex(days, _DATE)).as_py():
            return days  # PostgreSQL reads more forms
        days = pc.utf8_slice_codeunits(days, 0, 10)
        if _cast(days, pa.date32()) is None:
            on_calendar = [day is None or _cast(pa.array([day]), pa.date32()) is not None for day in days.to_pylist()]
            self._refuse_others(column, pa.array(on_calendar))
        return days

    def _timestamps(self, values: pa.Array, column: TableColumn) -> pa.Array:
        return trimmed(self._typed(values, column, _ANY if self._enforces_types else _TIMESTAMP, Kind.TIMESTAMP))

    def _others(self, values: pa.Array, column: TableColumn) -> pa.Array:
        return trimmed(self._typed(values, column, _ANY, Kind.TEXT))

    def _texts(self, values: pa.Array, column: TableColumn) -> pa.Array:
        length = getattr(column.declared, "length", None)
        if length is not None and self._enforces_types:
            long = pc.greater(pc.utf8_length(pc.utf8_rtrim(values, characters=" ")), length)
            if pc.any(long).as_py():
                self._refuse_others(column, pc.invert(long), "a text that is too long for")
        return values

    def _typed(self, values: pa.Array, column: TableColumn, pattern: str, kind: Kind) -> pa.Array:
        """Values that match a pattern; blanks and missing-value markers become null."""
        typed, markers, others = without_markers(values, pattern)
        if len(others):
            first = others[0].as_py()
            what = f"{kind_of(values[first].as_py())} where {self._table} takes {column.ddl}"
            self._refuse(column, first, what, len(others))
        if kind in (Kind.DATE, Kind.TIMESTAMP, Kind.TEXT) and pattern == _ANY:
            typed, markers = _without_markers(typed, markers)
        if markers:
            self.notes.append(missing_note(column.name, kind, markers))
        return typed

    def _refuse_others(self, column: TableColumn, fits: pa.Array, what: str | None = None) -> None:
        """Raise InputFault where not all values fit."""
        fits = pc.fill_null(fits, True)
        if pc.all(fits).as_py() is not False:
            return
        first = pc.index(fits, False).as_py()
        found = self._rows.columns[column.name][first].as_py()
        message = f"{what} {column.ddl}" if what else f"{kind_of(found)} where {self._table} takes {column.ddl}"
        self._refuse(column, first, message, pc.sum(pc.invert(fits)).as_py())

    def _refuse(self, column: TableColumn, row: int, what: str, count: int) -> None:
        more = f" (and {count - 1:,} more like it)" if count > 1 else ""
        raise InputFault(
            f"{self._rows.file}, line {self._rows.line_of(row)}, column {column.name}: {what}{more}{NOTHING_LOADED}"
        )


def _cast(values: pa.Array, type_: pa.DataType) -> pa.Array | None:
    try:
        return values.cast(type_)
    except pa.ArrowInvalid:
        return None


def _bits(declared: sa.types.TypeEngine[Any]) -> int:
    return 15 if isinstance(declared, sa.SmallInteger) else 63 if isinstance(declared, sa.BigInteger) else 31


def _without_markers(values: pa.Array, markers: Any) -> tuple[pa.Array, Any]:
    """Missing-value markers as null, for a pattern that matches any text."""
    typed, found, _ = without_markers(values, r"^\b$")
    return (typed, found) if found else (values, markers)


def check_key(rows: CsvTable, columns: dict[str, pa.Array], types: dict[str, Any], key: Sequence[str]) -> None:
    """Raise InputFault where a key is missing, or is not unique after its conversion, as 110 and 110.0 are not."""
    named = f"the key ({', '.join(key)})"
    missing = [pc.index(columns[name].is_null(), True).as_py() for name in key if columns[name].null_count]
    if missing:
        empty = sum(columns[name].null_count for name in key)
        where = f"empty in {counted(empty, 'row')}, first in line {rows.line_of(min(missing))}"
        raise InputFault(f"{rows.file}: {named} is {where}{NOTHING_LOADED}")
    exact = {name: columns[name] for name in key}
    lists: list[list[Any]] | None = None
    if any(isinstance(types[name], sa.Numeric) for name in key):
        lists = [_exact(columns[name], types[name]) for name in key]
        distinct = len(set(zip(*lists, strict=True)))
    else:
        distinct = pa.table(exact).group_by(list(key)).aggregate([]).num_rows
    if distinct == rows.rows:
        return
    seen: dict[tuple[Any, ...], int] = {}
    for row, value in enumerate(zip(*(lists or [column.to_pylist() for column in exact.values()]), strict=True)):
        first = seen.setdefault(value, row)
        if first != row:
            break
    written = pa.table({name: rows.columns[name] for name in key}).group_by(list(key)).aggregate([]).num_rows
    hint = " (numbers such as 110 and 110.0 are one key)" if written != distinct else ""
    raise InputFault(
        f"{rows.file}: {named} is not unique: {counted(distinct, 'key')} in {counted(rows.rows, 'row')}, and line"
        f" {rows.line_of(row)} repeats line {rows.line_of(first)}{hint}{NOTHING_LOADED}"
    )


def _exact(values: pa.Array, declared: Any) -> list[Any]:
    plain: list[Any] = values.to_pylist()
    return [Decimal(str(value)) for value in plain] if isinstance(declared, sa.Numeric) else plain
