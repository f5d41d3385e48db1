"""Diagnosing a database error of a run that was caused by a change of the source during the run."""

from __future__ import annotations

from batch_scoring.errors import (
    ConstraintViolated,
    DatabaseFault,
    SourceFault,
    TransientError,
    WrittenCountDiffers,
)
from batch_scoring.scoring.plan import RunPlan
from batch_scoring.store.engine.database import Database
from batch_scoring.store.source.table import SourceTable


def diagnose(database: Database, plan: RunPlan, exc: DatabaseFault) -> None:
    """Raise an error that names the cause, if the source changed during the run; else return.

    Raises SourceFault, ConstraintViolated, DatabaseFault.
    """
    query = plan.queries[0]
    _check_duplicates(database, query.source, exc)
    _check_types(database, plan, query.source, exc)


def _check_duplicates(database: Database, source: SourceTable, exc: DatabaseFault) -> None:
    """Raise SourceFault if rows with a duplicate key were inserted after the keys were checked."""
    if not isinstance(exc, ConstraintViolated | WrittenCountDiffers):
        return
    try:
        with database.read() as connection:
            source.check_key(connection, counts_always=True)
    except SourceFault as fault:
        raise SourceFault(
            f"{fault}. They were inserted while the run was active; its committed chunks stay, the rest is due"
        ) from exc
    except DatabaseFault:
        return
    if source.guarantee.doubt and isinstance(exc, ConstraintViolated):
        raise ConstraintViolated(
            f"{exc}. No constraint keeps the key of the source unique ({source.guarantee.doubt}), so it may have"
            " contained a duplicate key during the run; committed chunks stay, the rest is due"
        ) from exc


def _check_types(database: Database, plan: RunPlan, source: SourceTable, exc: DatabaseFault) -> None:
    """Raise DatabaseFault with the columns whose type changed during the run, if there are any."""
    if isinstance(exc, TransientError):
        return
    try:
        with database.read() as connection:
            changed = source.changed_columns(SourceTable.inspect(database, connection, plan.job))
    except DatabaseFault:
        return
    if changed:
        raise DatabaseFault(
            f"{source.table} changed during the run: {', '.join(changed)}; committed chunks stay, the rest is"
            " due. `batch-scoring check` reports whether the model fits the source as it is now"
        ) from exc
