"""Explaining the state of a key: its current prediction, its history and its faults, in one record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from batch_scoring.domain.job import Job
from batch_scoring.domain.keys import Key, TextKey, key_text
from batch_scoring.domain.schedule import next_slot
from batch_scoring.scoring.scan import with_due_policy
from batch_scoring.store.due.query import DueQuery, DueReason
from batch_scoring.store.engine.clock import now
from batch_scoring.store.engine.database import Database
from batch_scoring.store.job_models import number_of_job
from batch_scoring.store.outcomes import history
from batch_scoring.store.outcomes.history import Entry, EntryFilter, PredictionRecord
from batch_scoring.store.runs import records
from batch_scoring.store.schema import job_tables, revision
from batch_scoring.store.source import lookup
from batch_scoring.store.source.table import SourceTable

State = Literal["scored", "due", "quarantined", "outside", "gone", "unknown"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The state and the history of a key."""

    job: str
    key: str
    state: State
    """Of the current source row: scored, due, quarantined, outside (excluded by [source] where), gone (scored earlier,
    no longer in the source) or unknown."""
    explanation: str
    source_changed_at: Any
    """The ``changed_at`` of the source row now; None without a row or without such a column."""
    next_slot: datetime | None
    """The next slot of the job's schedule; None without a schedule, or if the row is not due."""
    predictions: Sequence[PredictionRecord]
    """The prediction history of the key, the latest first."""
    quarantine: Sequence[Entry]
    """All its quarantine entries, the latest first."""
    failed_runs: Sequence[FailedRun]
    """The runs that failed while the row was due, the latest first; empty if it is not due."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FailedRun:
    """A run that left a row due because it failed or was abandoned."""

    run_id: int
    status: str
    started_at: datetime
    failed_rows: int | None
    """The number of rows of the failed chunk, if the key lies within its key range; None if no chunk is recorded as
    failed, so that it is unknown whether the run reached the row."""
    error_type: str | None
    error_message: str | None


def why(database: Database, job: Job, key: TextKey) -> Answer:
    """Explain the state of one key.

    Raises InputFault if the text is not valid for the type of a key column, SourceFault, SchemaOutOfDate,
    DatabaseFault.
    """
    with database.read() as connection:
        revision.check_revision(connection)
    alias_version = number_of_job(database, job)
    with database.read() as connection:
        time = now(connection)
        layout = job_tables.registered_layout(connection, job)
        source = SourceTable.inspect(database, connection, job)
        found, _ = lookup.find(connection, source, [key])
        is_outside = not found and source.where and lookup.find_anywhere(connection, source, key)
        changed_at = lookup.changed_at_of(connection, source, found[0]) if found and source.changed_at else None
        predictions: Sequence[PredictionRecord] = []
        entries: Sequence[Entry] = []
        reason: DueReason | None = "changed" if found else None
        if layout is not None:
            keys = history.keys_of(connection, layout, [key])
            predictions = history.predictions_of(connection, layout, keys)
            entries = history.entries(connection, layout, EntryFilter(keys=keys), is_open=False)
            query = with_due_policy(connection, job, DueQuery(source=source, layout=layout), version=alias_version)
            reason = query.reason_of(connection, found[0]) if found else None
    state: State = "unknown"
    if is_outside:
        state = "outside"
    elif found:
        # entries of the current version only: an entry of an earlier one may still be open
        is_quarantined = any(entry.is_open and entry.source_changed_at == changed_at for entry in entries)
        state = "due" if reason else "quarantined" if is_quarantined else "scored"
    elif predictions or entries:
        state = "gone"
    failed: Sequence[FailedRun] = ()
    if state == "due":
        latest = max([record.run_id for record in predictions] + [entry.run_id for entry in entries], default=0)
        failed = _failed_runs(database, job, source, found[0], after=latest, since=_as_time(changed_at))
    slot = next_slot(job.schedule, time) if state == "due" and job.schedule else None
    return Answer(
        job=job.name,
        key=key_text(tuple(job.source.key), key),
        state=state,
        explanation=_Explanation(
            job=job,
            predictions=predictions,
            entries=entries,
            slot=slot,
            reason=reason,
            alias_version=alias_version,
        ).of(state)
        + _on_failures(failed),
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
                continue  # the row has changed since
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
    """The ``changed_at`` of a source row as an aware datetime, UTC if it has no zone; None if it is not a time."""
    try:
        found = datetime.fromisoformat(str(changed_at))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _on_failures(failed: Sequence[FailedRun]) -> str:
    in_chunk = [run for run in failed if run.failed_rows is not None]
    elsewhere = [run for run in failed if run.failed_rows is None]
    text = ""
    if in_chunk:
        text += f"; its chunk failed in {_numbered(in_chunk)}: {in_chunk[0].error_message}"
    if elsewhere:
        latest = elsewhere[0]
        text += f"; {_numbered(elsewhere)} ended without scoring it: {latest.error_type}, {latest.error_message}"
    return text


def _numbered(failed: Sequence[FailedRun]) -> str:
    numbers = ", ".join(str(run.run_id) for run in failed)
    return f"run {numbers}" if len(failed) == 1 else f"runs {numbers}"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Explanation:
    """A sentence about the state of a key, from what was found."""

    job: Job
    predictions: Sequence[PredictionRecord]
    entries: Sequence[Entry]
    slot: datetime | None
    reason: DueReason | None
    alias_version: int | None

    def of(self, state: State) -> str:
        match state:
            case "unknown":
                return f"{self.job.source.table} has no such row, and none was ever scored"
            case "outside":
                return f"the row is in {self.job.source.table}, but [source] where excludes it{self._closed}"
            case "gone":
                return f"{self.job.source.table} no longer has such a row; its predictions are kept{self._closed}"
            case "quarantined":
                return self._quarantined
            case "due":
                when = f"the run of {self.slot:%Y-%m-%d %H:%M:%S} UTC" if self.slot else "the next run"
                return f"{self._why_due}; {when} will score it"
        current = self._current
        assert current is not None
        return (
            f"scored by run {current.run_id} ({current.trigger}, requested by {current.requested_by})"
            f" with {current.model_name} version {current.model_version}{self._scored_again}"
        )

    @property
    def _current(self) -> PredictionRecord | None:
        return next((record for record in self.predictions if record.is_current), None)

    @property
    def _closed(self) -> str:
        if self.predictions and self._current is None:
            return f"; the last one was closed at {self.predictions[0].valid_to:%Y-%m-%d %H:%M:%S} UTC"
        if self.job.source.deleted == "close" and self._current is not None:
            return "; the next sweep closes the current one"
        return ""

    @property
    def _quarantined(self) -> str:
        entry = next(entry for entry in self.entries if entry.is_open)
        refresh = self.job.source.refresh
        retry = f"`batch-scoring quarantine retry {self.job.name}`"
        conditions = [f"after {retry}"]
        if refresh is not None:
            conditions.insert(0, f"once the entry is older than {refresh}")
        if self.job.source.changed_at is not None:
            conditions.insert(0, "when the source row changes")
        condition = ", or ".join(conditions)
        if self.job.source.scores_once:
            condition = f"only {condition}: the job sets no changed_at, so changes of the row are not detected"
        return (
            f"quarantined by run {entry.run_id}: {entry.reason_code}"
            f"{f' in {entry.column_name}' if entry.column_name else ''} ({entry.message});"
            f" it is tried again {condition}"
        )

    @property
    def _why_due(self) -> str:
        current = self._current
        if self.reason == "version" and current is not None:
            model = self.job.model
            return (
                f"the row has not changed, but its prediction is of version {current.model_version} of {model.name} and"
                f" {model.uri or model.alias} is version {self.alias_version}"
            )
        before = "scored" if self.predictions else "quarantined"
        if self.reason == "age":
            return f"the row has not changed, but was {before} longer than {self.job.source.refresh} ago"
        if self.predictions or self.entries:
            return f"the row was {before}, and has changed or been released for a retry since"
        return "the row has not been scored yet"

    @property
    def _scored_again(self) -> str:
        current, model = self._current, self.job.model
        text = ""
        if self.job.source.refresh is not None:
            text += f"; it is scored again once that is {self.job.source.refresh} ago"
        if model.on_new_version == "rescore" and current is not None and current.model_version != self.alias_version:
            text += (
                f"; version {self.alias_version} replaces it in a later run, since each run replaces at most"
                f" {model.per_run:,} predictions of another version, oldest first"
            )
        return text
