"""Why a key has the score it has: one record of all that is known of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from batch_scoring.domain.job import Job
from batch_scoring.domain.keys import Key, TextKey, key_text
from batch_scoring.domain.schedule import next_slot
from batch_scoring.store.due.query import DueQuery
from batch_scoring.store.engine.clock import now
from batch_scoring.store.engine.database import Database
from batch_scoring.store.outcomes import history
from batch_scoring.store.outcomes.history import Entry, EntryFilter, PredictionRecord
from batch_scoring.store.runs import records
from batch_scoring.store.schema import job_tables, revision
from batch_scoring.store.source import lookup
from batch_scoring.store.source.table import SourceTable

State = Literal["scored", "due", "quarantined", "outside", "gone", "unknown"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What is known of a key."""

    job: str
    key: str
    state: State
    """Of the source row as it is now: scored, due, quarantined, outside (left out by [source] where), gone (seen once,
    and in the source no more) or unknown."""
    explanation: str
    source_changed_at: Any
    """Version of the source row now; None where there is no row or no such column."""
    next_slot: datetime | None
    """When the job's schedule next starts a run; None without a schedule, or where nothing is due."""
    predictions: Sequence[PredictionRecord]
    """Every prediction it ever had, the latest first."""
    quarantine: Sequence[Entry]
    """Every time it was set aside, the latest first."""
    failed_runs: Sequence[FailedRun]
    """The latest runs that failed while the row was due, the latest first; none where it is not due."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FailedRun:
    """A run that left a row due because it failed or was abandoned."""

    run_id: int
    status: str
    started_at: datetime
    failed_rows: int | None
    """Rows of the chunk that failed, whose keys begin before and end after this one; None where the run failed as a
    whole, so that it is not known whether it came to the row."""
    error_type: str | None
    error_message: str | None


def why(database: Database, job: Job, key: TextKey) -> Answer:
    """Answer for one key. Raises InputFault where it can be no key of the source, SourceFault, SchemaOutOfDate."""
    with database.read() as connection:
        revision.check_revision(connection)
        moment = now(connection)
        layout = job_tables.registered_layout(connection, job)
        source = SourceTable.inspect(database, connection, job)
        found, _ = lookup.find(connection, source, [key])
        is_outside = not found and source.where and lookup.find_anywhere(connection, source, key)
        changed_at = lookup.changed_at_of(connection, source, found[0]) if found and source.changed_at else None
        predictions: Sequence[PredictionRecord] = []
        entries: Sequence[Entry] = []
        is_due = bool(found)
        if layout is not None:
            keys = history.keys_of(connection, layout, [key])
            predictions = history.predictions_of(connection, layout, keys)
            entries = history.entries(connection, layout, EntryFilter(keys=keys), is_open=False)
            is_due = bool(found) and DueQuery(source=source, layout=layout).count_of(connection, (found[0],)) > 0
    state: State = "unknown"
    if is_outside:
        state = "outside"
    elif found:
        # what holds for its present version; an entry of another one may be open beside it
        is_set_aside = any(entry.is_open and entry.source_changed_at == changed_at for entry in entries)
        state = "due" if is_due else "quarantined" if is_set_aside else "scored"
    elif predictions or entries:
        state = "gone"
    failed: Sequence[FailedRun] = ()
    if state == "due":
        latest = max([life.run_id for life in predictions] + [entry.run_id for entry in entries], default=0)
        failed = _failed_runs(database, job, source, found[0], after=latest, since=_as_time(changed_at))
    slot = next_slot(job.schedule, moment) if state == "due" and job.schedule else None
    return Answer(
        job=job.name,
        key=key_text(tuple(job.source.key), key),
        state=state,
        explanation=_explanation(job, state, predictions, entries, slot) + _on_failures(failed),
        source_changed_at=changed_at,
        next_slot=slot,
        predictions=predictions,
        quarantine=entries,
        failed_runs=failed,
    )


def _failed_runs(
    database: Database, job: Job, source: SourceTable, key: Key, *, after: int, since: datetime | None
) -> Sequence[FailedRun]:
    found = []
    candidates = records.failed_since(database, job.name, after=after)
    with database.read() as connection:
        for run in candidates:
            if since is not None and run.finished_at is not None and run.finished_at < since:
                continue  # the row was another one then
            keys = run.failed_keys
            if keys and not lookup.is_between(connection, source, key, tuple(keys["first"]), tuple(keys["last"])):
                continue
            found.append(
                FailedRun(
                    run_id=run.run_id,
                    status=run.status.value,
                    started_at=run.started_at,
                    failed_rows=keys["rows"] if keys else None,
                    error_type=run.error_type,
                    error_message=run.error_message,
                )
            )
    return found


def _as_time(changed_at: Any) -> datetime | None:
    """A version of a source row as a time, UTC where it has no zone; None where it is none."""
    try:
        found = datetime.fromisoformat(str(changed_at))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _on_failures(failed: Sequence[FailedRun]) -> str:
    on_it = [run for run in failed if run.failed_rows is not None]
    text = ""
    if on_it:
        text += f"; the rows around it failed in {_numbered(on_it)}: {on_it[0].error_message}"
    if len(failed) > len(on_it):
        whole = [run for run in failed if run.failed_rows is None]
        text += f"; {_numbered(whole)} ended without scoring it: {whole[0].error_type}, {whole[0].error_message}"
    return text


def _numbered(failed: Sequence[FailedRun]) -> str:
    numbers = ", ".join(str(run.run_id) for run in failed)
    return f"run {numbers}" if len(failed) == 1 else f"runs {numbers}"


def _explanation(
    job: Job, state: State, predictions: Sequence[PredictionRecord], entries: Sequence[Entry], slot: datetime | None
) -> str:
    if state == "unknown":
        return f"{job.source.table} has no such row, and none was ever scored"
    if state == "outside":
        return f"the row is in {job.source.table}, but [source] where leaves it out"
    if state == "gone":
        return f"{job.source.table} has no such row any more; what was scored stays"
    if state == "quarantined":
        entry = next(entry for entry in entries if entry.is_open)
        retry = f"`batch-scoring quarantine retry {job.name}`"
        again = f"when the source row changes, or after {retry}"
        if job.source.changed_at is None:
            again = f"after {retry} only: the job names no changed_at, so no change of the row is noticed"
        return (
            f"set aside by run {entry.run_id}: {entry.reason_code}"
            f"{f' in {entry.column_name}' if entry.column_name else ''} ({entry.message}); it is tried again {again}"
        )
    if state == "due":
        before = "scored" if predictions else "set aside"
        what = "the row was not scored yet"
        if predictions or entries:
            what = f"the row was {before}, and changed or was given another try since"
        when = f"the run of {slot:%Y-%m-%d %H:%M:%S} UTC takes it" if slot else "the next run takes it"
        return f"{what}; {when}"
    current = next(life for life in predictions if life.is_current)
    return (
        f"scored by run {current.run_id} ({current.trigger}, asked for by {current.requested_by})"
        f" with {current.model_name} version {current.model_version}"
    )
