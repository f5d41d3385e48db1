"""Parse values from a command line, a file of keys or a --where condition as values of columns."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from batch_scoring.domain.column_types import Family
from batch_scoring.domain.keys import Key, TextKey
from batch_scoring.errors import InputFault
from batch_scoring.store.engine.columns import SourceColumn

_MAX_INTEGER = 2**63 - 1
_MAX_EXPONENT = 308
"""Of a number, so that a double can represent it and its digits stay few."""


def candidates(text: TextKey, columns: Sequence[SourceColumn]) -> Iterator[Key]:
    """The values in the database that the text of a key may stand for: one, or several where SQLite may store it in
    several forms (a column without a type, a timestamp as text).

    Raises InputFault naming the column.
    """
    return itertools.product(*(_candidates(value, column) for value, column in zip(text, columns, strict=True)))


def _candidates(text: str, column: SourceColumn) -> list[Any]:
    if column.family is Family.UNKNOWN:
        return list(dict.fromkeys([text, read_untyped(text)]))
    value = read_value(text, column, "key")
    if column.family is not Family.TIMESTAMP:
        return [value]
    timestamp = datetime.fromisoformat(value)
    forms = (timestamp.isoformat(sep, fraction) for sep in " T" for fraction in ("auto", "microseconds"))
    return list(dict.fromkeys([*forms, text]))


def read_untyped(text: str, *, is_text: bool = False) -> Any:
    """A text as a value of a column without a declared type: a number if it has the form of one."""
    if is_text or not re.fullmatch(r"-?\d{1,19}(\.\d{1,18})?", text, re.ASCII):
        return text
    number = float(text) if "." in text else int(text)
    return number if abs(number) <= _MAX_INTEGER else text


def read_value(text: str, column: SourceColumn, what: str) -> Any:
    """A text as a value of a column. Raises InputFault."""
    read, expected = _READERS.get(column.family, (str, "text"))
    if column.base == "uuid":
        read, expected = _uuid, "a UUID"
    if "\0" in text:
        raise InputFault(f"{what} {text!r}: holds a NUL character, which no column can store")
    if not _is_encodable(text):
        raise InputFault(f"{what} {text!r}: is not valid Unicode text")
    try:
        return read(text)
    except (ValueError, InvalidOperation):
        raise InputFault(f"{what} {text!r}: column {column.name} is {column.ddl}, expected {expected}") from None


def unmatched(texts: Iterable[TextKey], columns: Sequence[SourceColumn], found: Iterable[Key]) -> list[TextKey]:
    """The texts whose keys were not found, each once."""
    present = {_form(key, columns) for key in found}
    return [
        text
        for text in dict.fromkeys(texts)
        if not any(_form(key, columns) in present for key in candidates(text, columns))
    ]


def _form(key: Key, columns: Sequence[SourceColumn]) -> Key:
    """A key in a form in which keys from text and from a driver compare equal."""
    return tuple(_comparable(value, column) for value, column in zip(key, columns, strict=True))


def _comparable(value: Any, column: SourceColumn) -> Any:
    text = str(value)
    try:
        if column.family is Family.NUMBER:
            return Decimal(text)
        if column.family in (Family.DATE, Family.TIMESTAMP):
            return _utc(text)
    except (ValueError, InvalidOperation):  # SQLite stores any text in a column of timestamps
        return text
    if column.family is Family.BOOLEAN:
        return bool(value)
    return text.rstrip(" ") if column.is_padded else text


def _integer(text: str) -> int:
    if not re.fullmatch(r"[+-]?\d{1,40}", text.strip(), re.ASCII):
        raise ValueError
    number = int(text)
    if not -_MAX_INTEGER - 1 <= number <= _MAX_INTEGER:
        raise ValueError
    return number


def _number(text: str) -> str:
    """A text to bind, which each database converts to the column's type."""
    number = Decimal(text.strip())
    if not number.is_finite() or abs(number.adjusted()) > _MAX_EXPONENT:
        raise ValueError
    return f"{number:f}"


_BOOLEANS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


def _boolean(text: str) -> bool:
    if text.strip().lower() not in _BOOLEANS:
        raise ValueError
    return _BOOLEANS[text.strip().lower()]


def _date(text: str) -> str:
    return _utc(text).date().isoformat()


def _timestamp(text: str) -> str:
    """In UTC and in a form that every database reads."""
    return _utc(text).isoformat(sep=" ")


def _utc(text: str) -> datetime:
    timestamp = datetime.fromisoformat(text.strip())
    try:
        return timestamp.astimezone(UTC).replace(tzinfo=None) if timestamp.tzinfo else timestamp
    except OverflowError:
        raise ValueError from None


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _uuid(text: str) -> str:
    return str(UUID(text))


_READERS: dict[Family, tuple[Callable[[str], Any], str]] = {
    Family.INTEGER: (_integer, "an integer of at most 64 bits"),
    Family.NUMBER: (_number, "a number between 1e-308 and 1e308, or 0"),
    Family.BOOLEAN: (_boolean, "true or false"),
    Family.DATE: (_date, "a date such as 2026-01-31"),
    Family.TIMESTAMP: (_timestamp, "a timestamp such as 2026-01-31 12:00:00"),
}
