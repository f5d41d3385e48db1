"""Choosing the scan mode of a run: a sweep of the whole source, or only rows that changed recently."""

from __future__ import annotations

from batch_scoring.domain.job import Job
from batch_scoring.domain.runs import Run
from batch_scoring.store.due.scan import FullScan, LookbackScan
from batch_scoring.store.engine.clock import earlier, now
from batch_scoring.store.engine.database import Database
from batch_scoring.store.runs import records


def choose_scan(database: Database, job: Job) -> FullScan:
    """A sweep, unless the job has a lookback window and the last successful sweep is recent and of the same rows.

    After a change of the source, its condition or the predictions table, other rows may be due, so the next run
    sweeps. Raises DatabaseFault.
    """
    source = job.source
    if source.lookback is None or source.sweep is None:
        return FullScan()
    with database.read() as connection:
        time = now(connection)
    last = records.last_success(database, job.name, mode="sweep")
    since = earlier(time, source.lookback)
    if last is not None and time - last.started_at < source.sweep and _scanned(last) == _scans(job):
        return LookbackScan(since=since)
    return FullScan(lookback_from=since)


def _scans(job: Job) -> tuple[object, ...]:
    return _rows_of(job.model_dump(mode="json"))


def _scanned(run: Run) -> tuple[object, ...]:
    return _rows_of(run.job_config)


def _rows_of(config: dict[str, dict[str, object]]) -> tuple[object, ...]:
    names = ("table", "key", "changed_at", "where")
    return (*(config["source"].get(name) for name in names), config["predictions"].get("table"))
