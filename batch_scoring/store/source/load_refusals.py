"""Which row of a file a table refuses, and why, in words without the values of the row."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import sqlalchemy as sa

from batch_scoring.errors import DatabaseFault
from batch_scoring.store.engine.database import Database

_POSTGRESQL = {
    "23502": "a value is missing where the column needs one (NOT NULL)",
    "23503": "the row that foreign key {constraint} refers to is missing",
    "23505": "another row has the same values, and {constraint} keeps them unique",
    "23514": "check constraint {constraint} does not allow it",
    "23P01": "exclusion constraint {constraint} does not allow it beside another row",
    "22001": "a text is too long for its column",
    "22003": "a number is beyond the range of its column",
    "22P02": "a value is not of its column's type",
    "22P03": "a value is not of its column's type",
    "22007": "a value is not of its column's type",
    "22008": "a date or time is beyond the range of its column",
    "22021": "a text is not valid in the encoding of the database",
    "22P05": "a text holds a character that the encoding of the database does not have",
    "P0001": "a trigger of the table refused it",
}

_SQLITE = {
    "SQLITE_CONSTRAINT_NOTNULL": _POSTGRESQL["23502"],
    "SQLITE_CONSTRAINT_FOREIGNKEY": "the row that a foreign key refers to is missing",
    "SQLITE_CONSTRAINT_UNIQUE": "another row has the same {constraint}, which the table keeps unique",
    "SQLITE_CONSTRAINT_PRIMARYKEY": "another row has the same {constraint}, which the table keeps unique",
    "SQLITE_CONSTRAINT_ROWID": "another row has the same {constraint}, which the table keeps unique",
    "SQLITE_CONSTRAINT_CHECK": "check constraint {constraint} does not allow it",
    "SQLITE_CONSTRAINT_TRIGGER": "a trigger of the table refused it",
    "SQLITE_CONSTRAINT_DATATYPE": "a value is not of its column's type",
}


def refusal(fault: DatabaseFault, columns: Collection[str]) -> tuple[str | None, str] | None:
    """The column, where it is known, and why the database refused a row; None where it did for another reason."""
    driver = getattr(fault.__cause__, "orig", None) or fault.__cause__
    state = getattr(driver, "pgcode", None)
    if state is not None:
        return _by_postgresql(driver, state, columns)
    words = _SQLITE.get(getattr(driver, "sqlite_errorname", None) or "")
    if words is None:
        return None
    what = str(driver).partition(": ")[2]
    names = [name.rpartition(".")[2] for name in what.split(", ")]
    column = names[0] if len(names) == 1 and "NOT NULL" in words else None
    shown = what if "check" in words else " and ".join(names)
    return column, words.format(constraint=shown)


def _by_postgresql(driver: Any, state: str, columns: Collection[str]) -> tuple[str | None, str] | None:
    words = _POSTGRESQL.get(state)
    if words is None:
        return None
    diagnostics = driver.diag
    constraint = diagnostics.constraint_name
    if state == "23514" and constraint is None:
        words = "no partition of the table takes it"
    context = diagnostics.context or ""
    named = next(
        (name for name in columns if f", column {name}: " in context or context.endswith(f", column {name}")), None
    )
    return diagnostics.column_name or named, words.format(constraint=constraint)


def first_refused(
    database: Database, connection: sa.Connection, count: int, write: Callable[[int, int], object]
) -> int:
    """The first of n rows with which the table no longer takes the rows up to it.

    ``write`` takes a range of rows; what it writes is rolled back. Writes no row more than once.
    """
    taken, refused = 0, count
    trial = connection.begin_nested()
    try:
        while refused - taken > 1:
            middle = (taken + refused) // 2
            try:
                with database.faults(), connection.begin_nested():
                    write(taken, middle)
                taken = middle
            except DatabaseFault:
                refused = middle
    finally:
        trial.rollback()
    return taken
