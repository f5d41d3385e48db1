"""What a fault of the database during a run means, where the source was changed while it was read."""

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
    """Raise a fault that names the cause in the source, where there is one; returns where there is none."""
    query = plan.queries[0]
    _check_duplicates(database, query.source, exc)
    _check_types(database, plan, query.source, exc)


def _check_duplicates(database: Database, source: SourceTable, exc: DatabaseFault) -> None:
    """Raise SourceFault where the write failed because rows with the key of others came after they were counted."""
    if not isinstance(exc, ConstraintViolated | WrittenCountDiffers):
        return
    try:
        with database.read() as connection:
            source.check_key(connection, counts_always=True)
    except SourceFault as fault:
        raise SourceFault(
            f"{fault}. They were not there when the run started; its committed chunks stay, the rest is due"
        ) from exc
    except DatabaseFault:
        return
    if source.guarantee.doubt and isinstance(exc, ConstraintViolated):
        raise ConstraintViolated(
            f"{exc}. Nothing keeps the key of the source unique ({source.guarantee.doubt}): while the run read it,"
            " it may have held a key twice; committed chunks stay, the rest is due"
        ) from exc


def _check_types(database: Database, plan: RunPlan, source: SourceTable, exc: DatabaseFault) -> None:
    """Raise a fault that names the columns whose type changed while the run went on, where there are any."""
    if isinstance(exc, TransientError):
        return
    try:
        with database.read() as connection:
            changed = source.changed_columns(SourceTable.inspect(database, connection, plan.job))
    except DatabaseFault:
        return
    if changed:
        raise DatabaseFault(
            f"{source.table} changed while the run read it: {', '.join(changed)}; committed chunks stay, the rest is"
            " due. `batch-scoring check` says whether the model can take the source as it is now"
        ) from exc
