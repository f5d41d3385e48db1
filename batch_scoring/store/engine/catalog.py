"""What the database's own catalog records of a table: the kind of relation, its indexes and what it enforces.

SQLAlchemy's inspector does not report whether an index is valid, deferrable or covers the rows of child tables, so the
catalog is queried directly.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Relation(StrEnum):
    """Kind of what a job reads."""

    TABLE = "table"
    VIEW = "view"
    MATERIALIZED_VIEW = "materialized view"
    FOREIGN_TABLE = "foreign table"


@dataclass(frozen=True, kw_only=True, slots=True)
class Index:
    """An index, or the rowid that is SQLite's INTEGER PRIMARY KEY."""

    name: str
    columns: tuple[str | None, ...]
    """In order; None for an expression."""
    is_primary: bool = False
    is_unique: bool = False
    is_valid: bool = True
    is_immediate: bool = True
    """Not deferrable."""
    is_partial: bool = False
    is_exclusion: bool = False
    """WITHOUT OVERLAPS, whose last column is compared by overlap."""
    keeps_equality: bool = True
    """No two values that are equal in the column are different in the index."""
    keeps_order: bool = True
    """Has every row in the order in which the column is compared."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Structure:
    """How a table is built, as far as it decides what is enforced."""

    relation: Relation
    indexes: tuple[Index, ...] = ()
    children: tuple[str, ...] = ()
    """Tables that inherit from it: their rows are read with its own, outside its constraints."""
    not_null: frozenset[str] = frozenset()
    """Columns whose NOT NULL holds for every row."""
    not_null_not_valid: frozenset[str] = frozenset()
    """Columns whose NOT NULL was never checked for the rows that were there before it."""
