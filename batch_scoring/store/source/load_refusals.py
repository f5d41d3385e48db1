"""Find the row of a file that a table refuses, and the reason, in messages without values of the row."""

from __future__ import annotations

from collections.abc import Callable, Collection

import sqlalchemy as sa

from batch_scoring.errors import DatabaseFault
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.dialects.dialect import Dialect


def refusal(dialect: Dialect, fault: DatabaseFault, columns: Collection[str]) -> tuple[str | None, str] | None:
    """The column, where it is known, and why the database refused a row; None where it did for another reason."""
    driver_error = getattr(fault.__cause__, "orig", None) or fault.__cause__
    return dialect.refusal(driver_error, columns)


def first_refused(
    database: Database, connection: sa.Connection, count: int, write: Callable[[int, int], object]
) -> int:
    """The position of the first row that the table refuses, found by bisection.

    ``write`` writes a range of rows; its writes are rolled back. No row is written more than once.
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
