"""After a run: compare what it read with the reference, record the figures, and raise or clear alerts.

Figures are those of the window. Where rows of the run were counted in the window before, those of the run by itself
count, too. When an alert is raised and cleared is in ``hysteresis``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

from batch_scoring.domain.drift import FEWEST_ROWS, Drift, Metric, Scope, row_count
from batch_scoring.domain.job import Job
from batch_scoring.domain.runs import ORDINARY, Run, Status
from batch_scoring.errors import ConstraintViolated
from batch_scoring.monitoring.hysteresis import TO_CLEAR, is_over, is_raised, merged
from batch_scoring.store.drift import alerts, reports
from batch_scoring.store.drift.alerts import Alert
from batch_scoring.store.drift.reports import Report
from batch_scoring.store.drift.windows import windows
from batch_scoring.store.engine.clock import now
from batch_scoring.store.engine.database import Database
from batch_scoring.store.runs.history import usual_due_count

if TYPE_CHECKING:
    from batch_scoring.monitoring.monitor import Monitored

REMIND_AFTER = timedelta(days=7)
"""Operators are told of an open alert again after this long."""

_TOLERANCE = timedelta(hours=1)
"""The start of a weekly run varies."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """What changed with a run, and what operators are to be told."""

    raised: Sequence[Alert] = ()
    cleared: Sequence[Alert] = ()
    reminded: Sequence[Alert] = ()
    """Open alerts that operators were told of long ago, or not yet because they were muted."""
    reason: str | None = None
    """Why nothing was compared; None if it was, nothing was read, or the evaluation before said the same."""


def evaluate(database: Database, job: Job, run: Run) -> Evaluation:
    """Evaluate an ordinary run that succeeded, once. Raises ModelRefused, DatabaseFault."""
    if run.trigger not in ORDINARY or run.status is not Status.SUCCEEDED or run.model_version is None:
        return Evaluation()
    rows = _rows(database, job, run)
    found = _windows_until(database, job, run) if run.read_count else []
    if not found and (rows is None or rows.value is None):
        return Evaluation()
    try:
        return _recorded(database, job, run, found, rows)
    except ConstraintViolated:  # another process has evaluated it
        return Evaluation()


def _rows(database: Database, job: Job, run: Run) -> Drift | None:
    """The number of due rows compared with the usual one; None where that is not known or small."""
    usual = usual_due_count(database, job.name, before=run.run_id)
    if usual is None or usual < FEWEST_ROWS:
        return None
    return row_count(run.due_count - run.refresh_count - run.new_version_count, usual, job.monitoring)


def _windows_until(database: Database, job: Job, run: Run) -> list[Monitored]:
    """The windows from the latest recorded one on, up to this run."""
    from batch_scoring.monitoring.monitor import compared

    after = reports.before_window(database, job.name)
    return compared(database, job, windows(database, job, after=after, until=run.run_id))


def _recorded(database: Database, job: Job, run: Run, found: Sequence[Monitored], rows: Drift | None) -> Evaluation:
    of_run = _of_run(database, job, run, found)
    with database.write() as connection:
        time = now(connection)
        before = _before(connection, job.name)
        latest_window = reports.latest_window(connection, job.name)
        known = reports.recorded_runs(connection, job.name, after=found[0].window.first_run - 1) if found else set()
        for one in found:
            if one.window.last_run == run.run_id or one.window.last_run not in known:
                reports.record(connection, _report(job, "window", one), one.metrics)
        own = [*([] if of_run is None else of_run.metrics), *([] if rows is None else [rows])]
        reports.record(connection, _report_of_run(job, run, of_run), own)
        latest: dict[Metric, Drift] = {} if rows is None else {rows.metric: rows}
        is_compared = bool(found) and found[-1].report is not None
        if is_compared:
            of_window = {one.metric: one for one in found[-1].metrics}
            of_changes = of_run.metrics if of_run is not None and of_run.window.again_count else ()
            latest |= merged(of_window, {one.metric: one for one in of_changes})
        evaluation = _alerts(connection, job.name, run.run_id, latest, before, time, has_window=is_compared)
    why_not = found[-1].why_not if found else None
    is_known = latest_window is not None and latest_window.report.why_not == why_not
    return replace(evaluation, reason=None if is_known else why_not)


def _of_run(database: Database, job: Job, run: Run, found: Sequence[Monitored]) -> Monitored | None:
    """The comparison of the run by itself; that of its window if it is the only run there."""
    if not found:
        return None
    if found[-1].window.run_count == 1:
        return found[-1]
    from batch_scoring.monitoring.monitor import compared

    alone = windows(database, job, after=run.run_id - 1, until=run.run_id)
    return compared(database, job, alone)[0] if alone else None


def _report(job: Job, scope: Scope, one: Monitored) -> Report:
    window, report = one.window, one.report
    return Report(
        run_id=window.last_run,
        scope=scope,
        job=job.name,
        first_run_id=window.first_run,
        window_from=window.started_at,
        window_to=window.ended_at,
        is_complete=window.is_complete,
        row_count=0 if window.profile is None else window.profile.rows,
        again_count=window.again_count,
        model_name=window.model_name,
        model_version=window.model_version,
        reference=None if report is None else report.reference_origin,
        reference_rows=None if report is None else report.reference_rows,
        why_not=one.why_not,
    )


def _report_of_run(job: Job, run: Run, one: Monitored | None) -> Report:
    if one is not None:
        return replace(_report(job, "run", one), is_complete=True)
    assert run.model_name is not None
    assert run.model_version is not None
    return Report(
        run_id=run.run_id,
        scope="run",
        job=job.name,
        first_run_id=run.run_id,
        window_from=run.started_at,
        window_to=run.started_at,
        is_complete=True,
        row_count=0,
        again_count=0,
        model_name=run.model_name,
        model_version=run.model_version,
        reference=None,
        reference_rows=None,
        why_not=None,
    )


_Figures = Sequence[Mapping[Metric, Drift]]


def _before(connection: sa.Connection, job: str) -> Mapping[bool, _Figures]:
    """The figures of the evaluations before, the newest first; by whether they are the number of rows."""
    of_rows = reports.latest(connection, job, "run", TO_CLEAR - 1, subject="rows")
    of_windows = reports.latest(connection, job, "window", TO_CLEAR - 1)
    return {
        True: [figures for _, figures in of_rows],
        False: [merged(window, reports.figures_of_changes(connection, run_id)) for run_id, window in of_windows],
    }


def _alerts(
    connection: sa.Connection,
    job: str,
    run_id: int,
    latest: Mapping[Metric, Drift],
    before: Mapping[bool, _Figures],
    time: datetime,
    *,
    has_window: bool,
) -> Evaluation:
    """Clear and raise alerts, and record which of them operators are told of."""
    cleared: list[Alert] = []
    open_before = alerts.open_alerts(connection, job)
    for alert in open_before:
        is_of_rows = alert.subject == "rows"
        if alert.metric not in latest and (is_of_rows or not has_window):
            continue  # not evaluated by this run
        history = [latest.get(alert.metric), *(figures.get(alert.metric) for figures in before[is_of_rows])]
        if is_over(history):
            alerts.clear_alert(connection, alert.alert_id, run_id, time)
            cleared.append(alert)
    known = {alert.metric for alert in open_before}
    for metric, drift in latest.items():
        earlier = [figures.get(metric) for figures in before[metric[0] == "rows"]]
        if metric not in known and is_raised([drift, *earlier]):
            alerts.raise_alert(connection, job, run_id, drift, time)
    still_open = alerts.open_alerts(connection, job)
    told = [one for one in still_open if one.muted_until is None and _is_to_be_told(one, time)]
    alerts.record_notice(connection, [one.alert_id for one in told], time)
    return Evaluation(
        raised=tuple(one for one in told if one.raised_run_id == run_id),
        reminded=tuple(one for one in told if one.raised_run_id != run_id),
        cleared=tuple(one for one in cleared if one.notified_at is not None),
    )


def _is_to_be_told(alert: Alert, time: datetime) -> bool:
    return alert.notified_at is None or time - alert.notified_at >= REMIND_AFTER - _TOLERANCE
