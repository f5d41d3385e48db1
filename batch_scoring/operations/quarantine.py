"""Quarantined rows: listing entries, and closing them so that the rows are tried again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from batch_scoring.domain.job import Job
from batch_scoring.domain.keys import Key, TextKey, key_text
from batch_scoring.domain.runs import Run
from batch_scoring.errors import InputFault, SourceFault
from batch_scoring.scoring.events import Observer
from batch_scoring.scoring.heartbeat import Heartbeat
from batch_scoring.scoring.lifecycle import execute_as_run
from batch_scoring.store.due.query import DueQuery
from batch_scoring.store.engine.clock import earlier, now
from batch_scoring.store.engine.database import Database
from batch_scoring.store.outcomes import history
from batch_scoring.store.outcomes.history import Entry, EntryFilter
from batch_scoring.store.runs import records
from batch_scoring.store.schema.job_tables import existing_layout
from batch_scoring.store.schema.layout import PredictionsLayout
from batch_scoring.store.source.table import SourceTable
from batch_scoring.store.source.values import unmatched


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """A filter of quarantine entries; keys are text. Conditions are combined with AND."""

    keys: tuple[TextKey, ...] | None = None
    reason_code: str | None = None
    column_name: str | None = None
    older_than: timedelta | None = None


def list_entries(
    database: Database, job: Job, chosen: Chosen, *, limit: int | None = None, is_open: bool = True
) -> Sequence[Entry]:
    """Quarantine entries, the latest first; with ``is_open=False`` closed ones, too.

    Raises InputFault for a job without tables or an unknown key format, DatabaseFault.
    """
    layout = existing_layout(database, job)
    with database.read() as connection:
        return history.entries(connection, layout, _filter(database, layout, chosen), limit=limit, is_open=is_open)


def stream_entries(database: Database, job: Job, chosen: Chosen) -> Iterator[Entry]:
    """Open quarantine entries, a few thousand in memory at a time; see ``list_entries`` for errors."""
    layout = existing_layout(database, job)
    wanted = _filter(database, layout, chosen)
    with database.read() as connection:
        yield from history.stream_entries(connection, layout, wanted)


@dataclass(frozen=True, kw_only=True, slots=True)
class Retried:
    """The result of a retry."""

    run: Run
    closed_count: int
    """The number of entries that were closed."""
    due_count: int
    """The number of rows that are due again. A row whose current version already has a prediction is not."""
    unknown: tuple[TextKey, ...] = ()
    """Keys without an open entry, if those are skipped."""


def retry(
    database: Database,
    job: Job,
    chosen: Chosen,
    *,
    reason: str | None = None,
    requested_by: str | None = None,
    skip_unknown: bool = False,
    observers: Sequence[Observer] = (),
) -> Retried:
    """Close open entries, so that the next run tries their rows again. Closed entries are kept as history.

    Executed as a run of trigger ``retry``. ``skip_unknown`` skips keys without an open entry; otherwise they raise
    InputFault. Also raises AnotherRunActive, SchemaOutOfDate, Fenced, DatabaseFault.
    """
    layout = existing_layout(database, job)
    unknown = _keys_without_entry(database, job, layout, chosen)
    if unknown and not skip_unknown:
        more = f" (and {len(unknown) - 1:,} more keys)" if len(unknown) > 1 else ""
        raise InputFault(
            f"{key_text(layout.key_names, unknown[0])}{more} is not in the quarantine of {layout.table};"
            " nothing was done. `batch-scoring quarantine list` shows the entries, `why` the state of a key;"
            " --skip-unknown skips such keys"
        )

    def work(own: Database, run_id: int, _heartbeat: Heartbeat) -> tuple[int, int]:
        wanted = _filter(own, layout, chosen)
        with own.write() as connection:
            time = records.fence(connection, run_id)
            keys = tuple(entry.key for entry in history.stream_entries(connection, layout, wanted))
            closed = history.close_entries(connection, layout, wanted, valid_to=time)
        due = _due_among(own, job, layout, keys)
        records.record_plan(own, run_id, mode=None, counts={"due_count": due})
        return closed, due

    run, (closed, due) = execute_as_run(
        database, job, work, trigger="retry", reason=reason, requested_by=requested_by, observers=observers
    )
    return Retried(run=run, closed_count=closed, due_count=due, unknown=tuple(unknown))


def _filter(database: Database, layout: PredictionsLayout, chosen: Chosen) -> EntryFilter:
    with database.read() as connection:
        return EntryFilter(
            keys=None if chosen.keys is None else history.keys_of(connection, layout, chosen.keys),
            reason_code=chosen.reason_code,
            column_name=chosen.column_name,
            before=None if chosen.older_than is None else earlier(now(connection), chosen.older_than),
        )


def _due_among(database: Database, job: Job, layout: PredictionsLayout, keys: tuple[Key, ...]) -> int:
    with database.read() as connection:
        try:
            source = SourceTable.inspect(database, connection, job)
        except SourceFault:  # the source is missing
            return 0
        return DueQuery(source=source, layout=layout).count_of(connection, keys)


def _keys_without_entry(database: Database, job: Job, layout: PredictionsLayout, chosen: Chosen) -> list[TextKey]:
    if chosen.keys is None:
        return []
    open_keys = [entry.key for entry in list_entries(database, job, chosen)]
    with database.read() as connection:
        return unmatched(chosen.keys, history.key_columns(connection, layout), open_keys)
