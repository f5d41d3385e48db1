"""Choosing the scan of a run: a sweep of the whole source or only recently changed rows, and what is due by policy."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from batch_scoring.domain.job import Job
from batch_scoring.domain.runs import Run
from batch_scoring.store.due.policy import DuePolicy, NewVersion, Refresh
from batch_scoring.store.due.query import DueQuery
from batch_scoring.store.due.scan import FullScan, LookbackScan
from batch_scoring.store.engine.clock import earlier, now
from batch_scoring.store.engine.database import Database
from batch_scoring.store.runs import records

_DAY = timedelta(days=1)


def choose_scan(database: Database, job: Job, *, version: int) -> FullScan:
    """A sweep, unless the job has a lookback window and the last successful sweep is recent and of the same rows.

    After a change of the source, its condition or the predictions table, other rows may be due, so the next run
    sweeps. So it does where predictions of another model version than ``version`` are due. Raises DatabaseFault.
    """
    source = job.source
    if source.lookback is None or source.sweep is None:
        return FullScan()
    with database.read() as connection:
        time = now(connection)
    last = records.last_success(database, job.name, mode="sweep")
    since = earlier(time, source.lookback)
    is_recent = last is not None and time - last.started_at < source.sweep
    if last is not None and is_recent and _scanned(last) == _scans(job) and _replaced_all(last, job, version):
        return LookbackScan(since=since)
    return FullScan(lookback_from=since)


def _replaced_all(last: Run, job: Job, version: int) -> bool:
    """Whether a sweep found every prediction that is due because of its model version."""
    if job.model.on_new_version == "keep":
        return True
    is_limited = job.model.per_run is not None and last.new_version_count >= job.model.per_run
    return last.model_version == version and not is_limited


def _scans(job: Job) -> tuple[object, ...]:
    return _rows_of(job.model_dump(mode="json"))


def _scanned(run: Run) -> tuple[object, ...]:
    return _rows_of(run.job_config)


def _rows_of(config: dict[str, dict[str, object]]) -> tuple[object, ...]:
    names = ("table", "key", "changed_at", "where")
    return (*(config["source"].get(name) for name in names), config["predictions"].get("table"))


def with_due_policy(
    connection: sa.Connection, job: Job, query: DueQuery, *, version: int | None, slot: datetime | None = None
) -> DueQuery:
    """The query with the rows that are due by the policy of the job, for a run that fills a slot or starts now.

    ``version`` is the model version of the job's alias; where it is None, no prediction is due because of its version.
    The tables of the job must exist. Raises DatabaseFault.
    """
    refresh, new_version = None, None
    if job.source.refresh is not None:
        cutoff = refresh_cutoff(job, job.source.refresh, slot or now(connection))
        refresh = Refresh.before(connection, job.name, cutoff)
    query = replace(query, scan=replace(query.scan, policy=DuePolicy(refresh=refresh)))
    if job.model.on_new_version == "rescore" and version is not None:
        new_version = NewVersion(version=version)
        if job.model.per_run is not None:
            new_version = replace(new_version, last=query.nth_of_other_version(connection, version, job.model.per_run))
    return replace(query, scan=replace(query.scan, policy=DuePolicy(refresh=refresh, new_version=new_version)))


def refresh_cutoff(job: Job, refresh: timedelta, at: datetime) -> datetime:
    """The time before which outcomes are due again, as an aware datetime in UTC.

    Whole days are days of the calendar in the time zone of the job's schedule, so that a slot a day finds the outcomes
    of the day before also where the clock changed between them.
    """
    if refresh % _DAY:
        return earlier(at, refresh)
    zone = ZoneInfo(job.schedule.timezone) if job.schedule else UTC
    local = earlier(at.astimezone(zone), refresh)  # the difference of two times of one zone is that of their clocks
    return max(local.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
