"""Closing the outcomes of rows that have left the source, a bounded share of them in one run."""

from __future__ import annotations

import math
from functools import partial

from batch_scoring.domain.keys import Key
from batch_scoring.errors import SourceFault
from batch_scoring.scoring.events import CommittedChunk
from batch_scoring.scoring.plan import RunPlan
from batch_scoring.scoring.progress import Progress
from batch_scoring.scoring.transient import retry_transient
from batch_scoring.store.engine.database import Database
from batch_scoring.store.outcomes.deleted import DeletedRows
from batch_scoring.store.source.table import SourceTable

_ROWS = 10_000
"""The outcomes that one transaction closes, unless the job sets the rows of a chunk."""
_ROUNDING = 1e-9
"""0.29 of 100 outcomes is 28.999999999999996 of them in floating point."""


def close_deleted(plan: RunPlan, database: Database, progress: Progress) -> None:
    """Close the outcomes of rows that have left the source, where the job says so and the run compares all keys.

    Raises SourceFault, and closes no more, where they are a larger share of all outcomes than the job allows. Raises
    Fenced, RunStopped, DatabaseFault.
    """
    source = plan.job.source
    if source.deleted == "keep" or plan.mode != "sweep":
        return
    retry_transient(partial(_check_visible, database, plan.queries[0].source))
    rows = DeletedRows(source=plan.queries[0].source, layout=plan.queries[0].layout)
    found = retry_transient(partial(rows.count, database))
    left = math.floor(source.max_deleted * found.total + _ROUNDING)
    if found.deleted > left:
        raise SourceFault(
            f"{found.deleted:,} of {found.total:,} predictions and quarantine entries are of rows that are not in"
            f" {source.table}, more than the share of {source.max_deleted:g} that [source] max_deleted allows: none of"
            " them was closed. Check the source; if the rows were deleted on purpose, allow more"
        )
    if not found.deleted:
        return
    step = plan.job.run.chunk_rows or _ROWS
    for table in rows.tables:
        after: Key | None = None
        while (chunk := retry_transient(partial(rows.next_range, database, table, after, step))) is not None:
            progress.check()
            counts, seconds = retry_transient(partial(rows.close, database, plan.run_id, table, chunk, at_most=left))
            progress.committed(CommittedChunk(counts=counts, reasons={}, seconds=seconds))
            left -= counts.closed
            after = chunk.upper


def _check_visible(database: Database, source: SourceTable) -> None:
    with database.read() as connection:
        source.check_visible(connection, "they would count as deleted, and none was closed")
