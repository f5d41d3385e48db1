"""Infer the type of a column of text: numbers, booleans, dates, timestamps or text, with missing values.

A column has a type if all its values have it, except blanks and missing-value markers. A value that would not be
written back unchanged (leading zeros, thousands separators, more digits than a number can store) makes the column text,
so that nothing is lost; a note reports it if it may be unexpected.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from batch_scoring.errors import InputFault
from batch_scoring.files.csv_table import CsvTable
from batch_scoring.files.format import FileFormat

_HEAD = 1000
"""The number of first values by which types are ruled out."""

_CATEGORIES = 20
"""At most this many distinct, repeated texts are categories (0, 1, 2, 3+), some of which may look like numbers."""

_MISSING = frozenset(
    """na n/a n.a. #n/a #na <na> null (null) none nil nan -nan nat ? - -- . \\n
    #null! #value! #div/0! #num!""".split()  # noqa: SIM905 - a list of them would take 24 lines
)
"""Missing-value markers in lower case: missing among numbers, booleans or dates, and text among texts."""

_INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)


class Kind(StrEnum):
    """The inferred type of a column."""

    INTEGER = "integer"
    """For keys only: exact, at most 18 digits."""
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"
    TIMESTAMP = "timestamp"
    TEXT = "text"
    EMPTY = "empty"
    """No row has a value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A column with its kind; its n values are text in the plain form of the kind, or null."""

    kind: Kind
    values: pa.Array
    notes: tuple[str, ...] = ()


_PLURAL = {
    Kind.INTEGER: "integers",
    Kind.NUMBER: "numbers",
    Kind.BOOLEAN: "booleans",
    Kind.DATE: "dates",
    Kind.TIMESTAMP: "timestamps",
}

_TIME = r"[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?: ?(?:Z|[+-]\d\d(?::?\d\d)?))?"
_PATTERNS = {
    Kind.INTEGER: r"^\s*-?(?:0|[1-9]\d{0,17})(?:\.0+)?\s*$",
    Kind.BOOLEAN: r"^\s*(?:true|false|True|False|TRUE|FALSE)\s*$",
    Kind.DATE: r"^\s*\d{4}-\d\d-\d\d\s*$",
    Kind.TIMESTAMP: rf"^\s*\d{{4}}-\d\d-\d\d(?:{_TIME})?\s*$",
}
_PLAIN_NUMBER = r"^-?(?:0|[1-9]\d{0,17})(?:\.\d+)?$"
_PHONE = r"^\s*\+\d{7,}\s*$"


def number_pattern(form: FileFormat) -> str:
    """A regular expression for numbers; 18 digits before the decimal sign and no leading zero."""
    integer_part = r"0|[1-9]\d{0,17}"
    if form.thousands:
        integer_part = rf"{integer_part}|[1-9]\d{{0,2}}(?:{re.escape(form.thousands)}\d{{3}}){{1,5}}"
    point = re.escape(form.decimal)
    return rf"^\s*[+-]?(?:(?:{integer_part})(?:{point}\d*)?|{point}\d+)(?:[eE][+-]?\d{{1,3}})?\s*$"


def plain_numbers(values: pa.Array, form: FileFormat) -> pa.Array:
    """Numbers in the form of Python and SQL."""
    values = trimmed(values)
    if form.thousands:
        values = pc.replace_substring(values, form.thousands, "")
    if form.decimal != ".":
        values = pc.replace_substring(values, form.decimal, ".")
    if pc.any(pc.starts_with(values, "+")).as_py():
        values = pc.replace_substring_regex(values, r"^\+", "")
    return values


def plain_integers(values: pa.Array) -> pa.Array:
    """Integers without the ``.0`` that spreadsheets and pandas write."""
    values = trimmed(values)
    for pattern, form in ((r"\.0*$", ""), (r"^\+", ""), (r"^-0+$", "0")):
        values = pc.replace_substring_regex(values, pattern, form)
    return values


def trimmed(values: pa.Array) -> pa.Array:
    """The values without blanks around them."""
    if not pc.any(pc.match_substring_regex(values, r"^\s|\s$")).as_py():
        return values
    return pc.utf8_trim_whitespace(values)


def without_markers(values: pa.Array, pattern: str) -> tuple[pa.Array, Counter[str], pa.Array]:
    """Replace blanks and missing-value markers that do not match a pattern by null.

    Return the values, the count of each marker, and the positions of other values that do not match.
    """
    matches = pc.match_substring_regex(values, pattern)
    if pc.all(matches).as_py() is not False:  # null where there is no value at all
        return values, Counter(), pa.array([], pa.int64())
    others = pc.indices_nonzero(pc.fill_null(pc.invert(matches), False))
    coded = values.take(others).dictionary_encode()
    words = [text.strip().lower() for text in coded.dictionary.to_pylist()]
    is_marker = pa.array([not word or word in _MISSING for word in words]).take(coded.indices)
    found: Counter[str] = Counter()
    for code, count in Counter(coded.indices.to_pylist()).items():
        if not words[code] or words[code] in _MISSING:
            found[coded.dictionary[code].as_py().strip()] += count
    neither = others.filter(pc.invert(is_marker)).cast(pa.int64())
    if found:
        missing = np.zeros(len(values), dtype=bool)
        missing[others.filter(is_marker)] = True
        values = pc.if_else(pa.array(missing), pa.scalar(None, values.type), values)
    return values, found, neither


def missing_note(name: str, kind: Kind, markers: Counter[str]) -> str:
    """A note on values that are read as missing."""
    listed = [
        f"{count:,} {marker or ('blank' if count == 1 else 'blanks')}" for marker, count in sorted(markers.items())
    ]
    words = " and ".join(filter(None, [", ".join(listed[:-1]), listed[-1]]))
    return f"{name}: {_PLURAL[kind]} but for {words}, read as missing"


def guess(table: CsvTable, name: str, *, is_key: bool = False) -> Column:
    """Infer the kind of a column. A key is read as integers, booleans, dates or unchanged text, never as floats.

    Raises InputFault where numbers are infinite.
    """
    values = table.columns[name]
    head = values.drop_null()[:_HEAD]
    if not len(head):
        return Column(kind=Kind.EMPTY, values=values)
    surprise: str | None = None
    for kind in (Kind.INTEGER if is_key else Kind.NUMBER, Kind.BOOLEAN, Kind.DATE, Kind.TIMESTAMP):
        pattern = number_pattern(table.form) if kind is Kind.NUMBER else _PATTERNS[kind]
        if not _may_be(head, pattern):
            continue
        if kind is Kind.NUMBER and table.form.decimal == "." and _all_match(values, _PLAIN_NUMBER):
            return Column(kind=kind, values=values)  # most columns need one pass only
        typed, markers, others = without_markers(values, pattern)
        if typed.null_count == len(typed):
            continue
        others = others if len(others) else _not_representable(typed, kind, table.form)
        if not len(others):
            notes = (missing_note(name, kind, markers),) if markers else ()
            return Column(kind=kind, values=_plain(typed, kind, table.form), notes=notes)
        _refuse_infinite(table, name, values, others)
        surprise = surprise or _surprise(table, name, values, kind, others)
    return Column(kind=Kind.TEXT, values=values, notes=tuple(filter(None, [surprise or _similarity_note(name, head)])))


def _all_match(values: pa.Array, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(values, pattern)).as_py())


def _may_be(head: pa.Array, pattern: str) -> bool:
    """Whether half of the first values, without missing-value markers, match a pattern."""
    _, markers, others = without_markers(head, pattern)
    return len(others) <= (len(head) - markers.total()) / 2


def _not_representable(values: pa.Array, kind: Kind, form: FileFormat) -> pa.Array:
    """Positions of values that match the kind's pattern but are invalid: 30 February, a number too large, a phone."""
    if kind is Kind.NUMBER:
        is_phone = pc.match_substring_regex(values, _PHONE)
        if pc.any(is_phone).as_py():
            return pc.indices_nonzero(is_phone)
        return pc.indices_nonzero(pc.is_inf(plain_numbers(values, form).cast(pa.float64())))
    if kind in (Kind.DATE, Kind.TIMESTAMP):
        days = pc.utf8_slice_codeunits(trimmed(values), 0, 10)
        try:
            days.cast(pa.date32())
        except pa.ArrowInvalid:
            return pa.array([at for at, day in enumerate(days.to_pylist()) if day is not None and not _is_day(day)])
    return pa.array([], pa.int64())


def _is_day(text: str) -> bool:
    try:
        pa.scalar(text).cast(pa.date32())
    except pa.ArrowInvalid:
        return False
    return True


def _plain(values: pa.Array, kind: Kind, form: FileFormat) -> pa.Array:
    if kind is Kind.NUMBER:
        return plain_numbers(values, form)
    if kind is Kind.INTEGER:
        return plain_integers(values)
    if kind is Kind.BOOLEAN:
        return pc.utf8_lower(trimmed(values))
    return trimmed(values)


def _refuse_infinite(table: CsvTable, name: str, values: pa.Array, others: pa.Array) -> None:
    infinite = [at for at in others.to_pylist() if _INFINITE.fullmatch(values[at].as_py().strip())]
    if infinite and len(infinite) == len(others):
        raise InputFault(
            f"{table.file}, line {table.line_of(infinite[0])}, column {name}: an infinite number, which no model takes;"
            " leave the field empty"
        )


def _surprise(table: CsvTable, name: str, values: pa.Array, kind: Kind, others: pa.Array) -> str | None:
    present = len(values) - values.null_count
    distinct = pc.count_distinct(values).as_py()
    if 2 * len(others) > present or distinct <= min(_CATEGORIES, present // 2):
        return None
    first = others[0].as_py()
    return (
        f"{name}: read as text, although {present - len(others):,} of {present:,} values are {_PLURAL[kind]};"
        f" line {table.line_of(first)} has {kind_of(values[first].as_py())}"
    )


_SIMILAR_TO: tuple[tuple[str, str], ...] = (
    (r"[+-]?\d{1,18},\d{1,2}|[+-]?\d+,\d{4,}", "a number with a decimal comma (see --decimal)"),
    (r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?", "a number with thousands separators (see --thousands)"),
    (r"[+-]?\d{1,3}(\.\d{3})+(,\d*)?", "a number with thousands separators (see --thousands and --decimal)"),
    (r"[+-]?0\d+(\.\d*)?", "a number with leading zeros"),
    (r"\+\d{7,}", "a telephone number"),
    (r"[+-]?\d{19,}(\.\d*)?", "a number of more than 18 digits"),
    (r"\d{1,2}[./-]\d{1,2}[./-]\d{2,4}( .*)?", "a date that is not written YYYY-MM-DD"),
)


def _similarity_note(name: str, head: Sequence[pa.StringScalar]) -> str | None:
    """A note on a column of text whose values all look like values of another type."""
    texts = [value.as_py().strip() for value in head]
    for pattern, what in _SIMILAR_TO:
        if all(re.fullmatch(pattern, text, re.ASCII) for text in texts):
            return f"{name}: read as text; each value looks like {what}"
    return None


def kind_of(text: str) -> str:
    """A description of a value that does not quote it."""
    text = text.strip()
    if not text:
        return "a blank"
    if text.lower() in _MISSING:
        return "a missing-value marker"
    if _INFINITE.fullmatch(text):
        return "an infinite number"
    if re.fullmatch(_NUMBER, text, re.ASCII) and np.isinf(float(text)):
        return "a number beyond the range of a float"
    if re.fullmatch(r"\d{4}-\d\d-\d\d.*", text, re.ASCII) and not _is_day(text[:10]):
        return "a date that does not exist"
    for pattern, what in (*_SIMILAR_TO, *_DESCRIPTIONS):
        if re.fullmatch(pattern, text, re.ASCII):
            return what
    return "text"


_NUMBER = r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?"

_DESCRIPTIONS: tuple[tuple[str, str], ...] = (
    (r"[+-]?\d+", "an integer"),
    (r"[+-]?(\d+(\.\d*)?|\.\d+)", "a number with decimals"),
    (r"[+-]?(\d+(\.\d*)?|\.\d+)[eE][+-]?\d+", "a number with an exponent"),
    (r"(?i:true|false)", "a boolean"),
    (r"\d{4}-\d\d-\d\d", "a date"),
    (r"\d{4}-\d\d-\d\d[T ].*", "a timestamp"),
)
