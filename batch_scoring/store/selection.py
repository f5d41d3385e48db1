"""Which rows a rescore does again, as values: what people say, checked against the source and kept with the run."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from batch_scoring.errors import InputFault
from batch_scoring.store.database import RAW, as_moment
from batch_scoring.store.reflection import Family, SourceColumn
from batch_scoring.store.rows import Key

TextKey = tuple[str, ...]
"""A key as people write it: the text of each column in order."""

NOTHING_YET = 2**62
"""A run number that no run has: whatever was scored was scored before."""

_KEYS_AT_ONCE = 5_000
_COMPOSITE_KEYS_AT_ONCE = 500
"""Keys in one statement; a list of composite ones is searched one by one."""

_COLUMN = r'\s*(?P<column>"(?:[^"]|"")+"|[^"].*?)'
_TERM = re.compile(_COLUMN + r"\s*(?P<operator><>|!=|<=|>=|=|<|>)(?!=)\s*(?P<value>.*?)\s*", re.DOTALL)
_NULL_TERM = re.compile(_COLUMN + r"\s+is\s+(?P<negated>not\s+)?null\s*", re.DOTALL | re.IGNORECASE)

_GREATEST_WHOLE = 2**63 - 1
_GREATEST_EXPONENT = 308
"""Of a number, so that a double holds it and its digits are no burden."""

_OPERATORS: dict[str, Callable[[Any, Any], sa.ColumnElement[bool]]] = {
    "=": lambda column, value: column == value,
    "!=": lambda column, value: column != value,
    "<": lambda column, value: column < value,
    "<=": lambda column, value: column <= value,
    ">": lambda column, value: column > value,
    ">=": lambda column, value: column >= value,
    "is null": lambda column, _: column.is_(None),
    "is not null": lambda column, _: column.is_not(None),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Term:
    """``column op value``: the value is only ever a value, whatever stands in it."""

    column: str
    operator: str
    value: str | None
    is_text: bool = False
    """It stood in quotes: matters where a column has no declared type."""

    @classmethod
    def parse(cls, text: str) -> Term:
        """Read a term. Raises InputFault."""
        if match := _NULL_TERM.fullmatch(text):
            operator = "is not null" if match["negated"] else "is null"
            return cls(column=_unquoted(match["column"]), operator=operator, value=None)
        if match := _TERM.fullmatch(text):
            operator = "!=" if match["operator"] == "<>" else match["operator"]
            value = _unquoted(match["value"], "'")
            is_text = value != match["value"]
            return cls(column=_unquoted(match["column"]), operator=operator, value=value, is_text=is_text)
        raise InputFault(
            f"--where {text!r}: expected COLUMN OP VALUE with one of = != < <= > >=, or COLUMN is [not] null"
        )

    def condition(self, columns: Mapping[str, SourceColumn], table: sa.TableClause) -> sa.ColumnElement[bool]:
        """The term on a source. Raises InputFault where it has no such column or the value is none of its type."""
        if self.column not in columns:
            raise InputFault(f"--where: the source has no column {self.column!r} (it has {', '.join(columns)})")
        column = columns[self.column]
        if self.value is None:
            return _OPERATORS[self.operator](table.c[self.column], None)
        if column.family is Family.UNKNOWN:
            return _OPERATORS[self.operator](table.c[self.column], _untyped(self.value, is_text=self.is_text))
        value = read_value(self.value, column, "--where")
        if column.family in (Family.DATE, Family.TIMESTAMP):
            return _OPERATORS[self.operator](as_moment(table.c[self.column]), as_moment(sa.literal(value, RAW)))
        return _OPERATORS[self.operator](table.c[self.column], value)


def _unquoted(text: str, mark: str = '"') -> str:
    is_quoted = len(text) > 1 and text[0] == text[-1] == mark
    return text[1:-1].replace(2 * mark, mark) if is_quoted else text


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """The rows of a source that are to be scored again. All that is said must hold; with nothing said it is all rows.

    A row counts as done once a run from ``since_run`` on has scored it or set it aside.
    """

    keys: tuple[Key, ...] | None = None
    scored_by_version: int | None = None
    scored_before: datetime | None = None
    scored_after: datetime | None = None
    where: tuple[Term, ...] = ()
    since_run: int = NOTHING_YET

    def pieces(self, most: int | None = None) -> Iterator[Selection]:
        """The same in statements of a bearable size, of ``most`` keys at most."""
        if self.keys is None:
            yield self
            return
        width = len(self.keys[0]) if self.keys else 1
        step = min(_KEYS_AT_ONCE if width == 1 else _COMPOSITE_KEYS_AT_ONCE, most or _KEYS_AT_ONCE)
        for start in range(0, len(self.keys), step):
            yield replace(self, keys=self.keys[start : start + step])

    def of_keys(self, keys: Sequence[sa.ColumnElement[Any]]) -> list[sa.ColumnElement[bool]]:
        """That the key is one of those selected."""
        if self.keys is None:
            return []
        if len(keys) == 1:
            return [keys[0].in_([key[0] for key in self.keys])]
        return [sa.tuple_(*keys).in_(self.keys)]

    @property
    def asks_for_a_prediction(self) -> bool:
        """Whether only rows that have a current prediction are selected."""
        return not (self.scored_by_version is None and self.scored_before is None and self.scored_after is None)

    def of_prediction(self, current: sa.FromClause) -> list[sa.ColumnElement[bool]]:
        """That the current prediction is one of those selected."""
        conditions: list[sa.ColumnElement[bool]] = []
        if self.scored_by_version is not None:
            conditions.append(current.c.model_version == self.scored_by_version)
        if self.scored_before is not None:
            conditions.append(current.c.valid_from < sa.literal(self.scored_before, current.c.valid_from.type))
        if self.scored_after is not None:
            conditions.append(current.c.valid_from >= sa.literal(self.scored_after, current.c.valid_from.type))
        return conditions

    def record(self) -> dict[str, Any]:
        """The selection as JSON keeps it."""
        return {
            "keys": None if self.keys is None else [[str(value) for value in key] for key in self.keys],
            "scored_by_version": self.scored_by_version,
            "scored_before": self.scored_before and self.scored_before.isoformat(),
            "scored_after": self.scored_after and self.scored_after.isoformat(),
            "where": [[term.column, term.operator, term.value, term.is_text] for term in self.where],
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What somebody asked to be scored again: a selection whose keys are text still."""

    keys: tuple[TextKey, ...] | None = None
    selection: Selection = field(default_factory=Selection)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Request:
        """Read what ``Selection.record`` wrote."""

        def moment(name: str) -> datetime | None:
            return datetime.fromisoformat(record[name]) if record[name] else None

        selection = Selection(
            scored_by_version=record["scored_by_version"],
            scored_before=moment("scored_before"),
            scored_after=moment("scored_after"),
            where=tuple(
                Term(column=column, operator=operator, value=value, is_text=is_text)
                for column, operator, value, is_text in record["where"]
            ),
        )
        keys = record["keys"]
        return cls(keys=None if keys is None else tuple(map(tuple, keys)), selection=selection)


def candidates(text: TextKey, columns: Sequence[SourceColumn]) -> Iterator[Key]:
    """What a key that people wrote may be in the database: one value, or several where SQLite may hold it in several
    forms (a column without a type, a moment as text).

    Raises InputFault naming the column.
    """
    return itertools.product(*(_candidates(value, column) for value, column in zip(text, columns, strict=True)))


def _candidates(text: str, column: SourceColumn) -> list[Any]:
    if column.family is Family.UNKNOWN:
        return list(dict.fromkeys([text, _untyped(text)]))
    value = read_value(text, column, "key")
    if column.family is not Family.TIMESTAMP:
        return [value]
    moment = datetime.fromisoformat(value)
    forms = (moment.isoformat(sep, fraction) for sep in " T" for fraction in ("auto", "microseconds"))
    return list(dict.fromkeys([*forms, text]))


def _untyped(text: str, *, is_text: bool = False) -> Any:
    """The value of a column without a declared type: a number where it looks like one."""
    if is_text or not re.fullmatch(r"-?\d{1,19}(\.\d{1,18})?", text, re.ASCII):
        return text
    number = float(text) if "." in text else int(text)
    return number if abs(number) <= _GREATEST_WHOLE else text


def read_value(text: str, column: SourceColumn, what: str) -> Any:
    """A text as a value of a column. Raises InputFault."""
    read, expected = _READERS.get(column.family, (str, "text"))
    if column.ddl.upper() == "UUID":
        read, expected = _uuid, "a UUID"
    if "\0" in text:
        raise InputFault(f"{what} {text!r}: holds a NUL, which no column does")
    if not _is_encodable(text):
        raise InputFault(f"{what} {text!r}: is no text that a column can hold")
    try:
        return read(text)
    except (ValueError, InvalidOperation):
        raise InputFault(f"{what} {text!r}: column {column.name} is {column.ddl}, expected {expected}") from None


def unmatched(texts: Iterable[TextKey], columns: Sequence[SourceColumn], found: Iterable[Key]) -> list[TextKey]:
    """Those of the keys that people wrote that are none of the keys found, each once."""
    present = {_form(key, columns) for key in found}
    return [
        text
        for text in dict.fromkeys(texts)
        if not any(_form(key, columns) in present for key in candidates(text, columns))
    ]


def _form(key: Key, columns: Sequence[SourceColumn]) -> Key:
    """A key in a form that is equal where the keys are, whether people wrote it or a driver gave it."""
    return tuple(_comparable(value, column) for value, column in zip(key, columns, strict=True))


def _comparable(value: Any, column: SourceColumn) -> Any:
    text = str(value)
    try:
        if column.family is Family.NUMBER:
            return Decimal(text)
        if column.family in (Family.DATE, Family.TIMESTAMP):
            return _utc(text)
    except (ValueError, InvalidOperation):  # SQLite lets any text stand in a column of moments
        return text
    if column.family is Family.BOOLEAN:
        return bool(value)
    return text.rstrip(" ") if column.ddl.upper().startswith("CHAR") else text


def _whole(text: str) -> int:
    if not re.fullmatch(r"[+-]?\d{1,40}", text.strip(), re.ASCII):
        raise ValueError
    number = int(text)
    if not -_GREATEST_WHOLE - 1 <= number <= _GREATEST_WHOLE:
        raise ValueError
    return number


def _number(text: str) -> str:
    """Bound as text, which each database reads as the column's own type."""
    number = Decimal(text.strip())
    if not number.is_finite() or abs(number.adjusted()) > _GREATEST_EXPONENT:
        raise ValueError
    return f"{number:f}"


_TRUTH = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


def _truth(text: str) -> bool:
    if text.strip().lower() not in _TRUTH:
        raise ValueError
    return _TRUTH[text.strip().lower()]


def _date(text: str) -> str:
    return _utc(text).date().isoformat()


def _moment(text: str) -> str:
    """UTC, as every database reads it."""
    return _utc(text).isoformat(sep=" ")


def _utc(text: str) -> datetime:
    moment = datetime.fromisoformat(text.strip())
    try:
        return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
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
    Family.INTEGER: (_whole, "a whole number of at most 64 bits"),
    Family.NUMBER: (_number, "a number between 1e-308 and 1e308, or 0"),
    Family.BOOLEAN: (_truth, "true or false"),
    Family.DATE: (_date, "a date such as 2026-01-31"),
    Family.TIMESTAMP: (_moment, "a moment such as 2026-01-31 12:00:00"),
}
