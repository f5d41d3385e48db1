"""Prometheus metrics, computed from the database, so that the service and cron export the same.

Counters are sums over ``scoring_runs``, so a restart does not reset them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Metric, write_to_textfile
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from batch_scoring.domain.runs import Status

if TYPE_CHECKING:
    from batch_scoring.monitoring.health import JobStatus
    from batch_scoring.store.runs.history import RunTotals


JOB_LABEL = "scoring_job"
"""Not ``job``, which Prometheus sets to the scrape target."""


class JobMetrics(Collector):
    """The metrics of jobs: totals of their runs, and their status at the last poll."""

    def __init__(self, totals: Sequence[RunTotals] = (), states: Sequence[JobStatus] = ()) -> None:
        self.totals = totals
        self.states = states

    def collect(self) -> Iterator[Metric]:
        """Every metric family, with a sample for each job."""
        runs = CounterMetricFamily("batch_scoring_runs", "Runs by status.", labels=[JOB_LABEL, "status"])
        rows = CounterMetricFamily("batch_scoring_rows", "Rows by outcome.", labels=[JOB_LABEL, "outcome"])
        for job in dict.fromkeys(total.job for total in self.totals):
            of_job = [total for total in self.totals if total.job == job]
            by_status = {total.status: total.runs for total in of_job}
            for status in Status:
                if status is not Status.RUNNING:  # a counter must not decrease
                    runs.add_metric([job, status.value], by_status.get(status, 0))
            for outcome in ("scored", "superseded", "quarantined"):
                rows.add_metric([job, outcome], sum(getattr(total, outcome) for total in of_job))
        yield runs
        yield rows
        yield from self._states()

    def _states(self) -> Iterator[Metric]:
        states = self.states
        yield _gauge("healthy", "1 if `batch-scoring status` reports no issue but drift.", _healthy(states))
        yield _gauge("running", "1 while a run of the job is running.", _running(states))
        yield _gauge("due_rows", "Rows that are due.", ((s.job, s.due_count) for s in states))
        yield _gauge("current_predictions", "Keys with a prediction.", ((s.job, s.current_count) for s in states))
        by_version = GaugeMetricFamily(
            "batch_scoring_current_predictions_by_version",
            "Keys with a prediction, by model version.",
            labels=[JOB_LABEL, "model", "model_version"],
        )
        for state in states:
            for one in state.versions:
                by_version.add_metric([state.job, one.model_name or "", str(one.model_version)], one.rows)
        yield by_version
        yield _gauge(
            "model_version",
            "The model version that the next run uses.",
            ((s.job, s.model_version) for s in states if s.model_version is not None),
        )
        yield _gauge("quarantined_rows", "Rows that are quarantined.", ((s.job, s.quarantined_count) for s in states))
        yield _gauge("held_runs", "Runs held since the last success.", ((s.job, s.held_count) for s in states))
        yield from _drift(states)
        yield _gauge("last_run_seconds", "Duration of the last finished run.", _seconds(states))
        yield _gauge("last_run_lateness_seconds", "From the slot of the last run to its start.", _lateness(states))
        yield _gauge(
            "last_success_timestamp_seconds",
            "When the last successful run ended, in seconds since the Unix epoch.",
            (
                (s.job, s.last_success.finished_at.timestamp())
                for s in states
                if s.last_success and s.last_success.finished_at
            ),
        )
        yield _gauge(
            "last_success_age_seconds",
            "Age of the last success, by the clock of the database.",
            ((s.job, s.last_success_age.total_seconds()) for s in states if s.last_success_age is not None),
        )


def _drift(states: Sequence[JobStatus]) -> Iterator[Metric]:
    raised = GaugeMetricFamily(
        "batch_scoring_drift_alerts",
        "Open alerts of drift, by whether they are acknowledged or muted.",
        labels=[JOB_LABEL, "muted"],
    )
    distances = GaugeMetricFamily(
        "batch_scoring_drift_psi",
        "Population stability index of the latest window.",
        labels=[JOB_LABEL, "subject", "name"],
    )
    for state in states:
        muted = [alert.muted_until is not None for alert in state.drift_alerts]
        for is_muted in (False, True):
            raised.add_metric([state.job, str(is_muted).lower()], muted.count(is_muted))
        for metric in state.drift.metrics if state.drift else ():
            if metric.measure == "distribution" and metric.value is not None:
                distances.add_metric([state.job, metric.subject, metric.name], metric.value)
    yield raised
    yield distances


def _gauge(name: str, documentation: str, values: Iterable[tuple[str, float]]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"batch_scoring_{name}", documentation, labels=[JOB_LABEL])
    for job, value in values:
        family.add_metric([job], value)
    return family


def _healthy(states: Sequence[JobStatus]) -> Iterator[tuple[str, float]]:
    from batch_scoring.monitoring.health import HealthIssue

    return ((state.job, float(state.issue in (None, HealthIssue.DRIFT))) for state in states)


def _running(states: Sequence[JobStatus]) -> Iterator[tuple[str, float]]:
    for state in states:
        yield state.job, float(state.last_run is not None and state.last_run.status is Status.RUNNING)


def _seconds(states: Sequence[JobStatus]) -> Iterator[tuple[str, float]]:
    for state in states:
        run = state.last_run if state.last_run and state.last_run.seconds is not None else state.last_success
        if run is not None and run.seconds is not None:
            yield state.job, run.seconds


def _lateness(states: Sequence[JobStatus]) -> Iterator[tuple[str, float]]:
    for state in states:
        run = state.last_run
        if run is not None and run.scheduled_for is not None:
            yield state.job, (run.started_at - run.scheduled_for).total_seconds()


def write_metrics_file(file: Path, totals: Sequence[RunTotals], states: Sequence[JobStatus]) -> None:
    """Write metrics atomically to a file for node_exporter's textfile collector. Raises OSError."""
    registry = CollectorRegistry()
    registry.register(JobMetrics(totals, states))
    write_to_textfile(str(file), registry)
