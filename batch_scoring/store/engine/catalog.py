"""The structure of a table by the database's catalog: the kind of relation, its indexes and its constraints.

SQLAlchemy's inspector does not report whether an index is valid, deferrable or covers the rows of child tables, so the
catalog is queried directly.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Relation(StrEnum):
    """Kind of relation that a job reads."""

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
    """Values that are equal in the column are equal in the index."""
    keeps_order: bool = True
    """The index has the sort order of the column."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Structure:
    """The structure of a table, as far as constraints depend on it."""

    relation: Relation
    indexes: tuple[Index, ...] = ()
    children: tuple[str, ...] = ()
    """Tables that inherit from it: their rows are read with its own, but its constraints do not cover them."""
    not_null: frozenset[str] = frozenset()
    """Columns whose NOT NULL holds for every row."""
    not_null_not_valid: frozenset[str] = frozenset()
    """Columns whose NOT NULL constraint was not checked for existing rows (NOT VALID)."""
