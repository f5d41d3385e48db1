"""Types of columns: of a source, and of a model's input."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Family(StrEnum):
    """The type of a source column, as far as it matters for a model."""

    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    TEXT = "text"
    DATE = "date"
    TIMESTAMP = "timestamp"
    OTHER = "other"
    UNKNOWN = "unknown"
    """The database reports no type, as for the columns of an SQLite view."""


class ColumnType(StrEnum):
    """The type in which the model takes a column."""

    INTEGER = "integer"
    """int64, or float64 where the column is nullable."""
    NUMBER = "number"
    """float64."""
    BOOLEAN = "boolean"
    """bool, or object with NaN where the column is nullable."""
    TEXT = "text"
    """A pandas categorical or object column of str, see Signature.text_as."""
    TIMESTAMP = "timestamp"
    """datetime64[us], UTC without a zone."""

    @property
    def families(self) -> frozenset[Family]:
        """The types of a source column that can be converted to this type."""
        return _FAMILIES[self]


_FAMILIES: dict[ColumnType, frozenset[Family]] = {
    ColumnType.INTEGER: frozenset({Family.INTEGER, Family.BOOLEAN, Family.NUMBER, Family.UNKNOWN}),
    ColumnType.NUMBER: frozenset({Family.INTEGER, Family.NUMBER, Family.BOOLEAN, Family.UNKNOWN}),
    ColumnType.BOOLEAN: frozenset({Family.BOOLEAN, Family.INTEGER, Family.UNKNOWN}),
    ColumnType.TEXT: frozenset({Family.TEXT, Family.INTEGER, Family.DATE, Family.UNKNOWN}),
    ColumnType.TIMESTAMP: frozenset({Family.DATE, Family.TIMESTAMP, Family.UNKNOWN}),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class InputColumn:
    """One of the model's inputs, as it is stored with a prediction."""

    name: str
    type: ColumnType
