"""An observer that notifies operators of runs that failed, quarantined too much or succeeded again, and of drift."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from batch_scoring.counting import counted, were
from batch_scoring.domain.job import Job
from batch_scoring.domain.runs import ORDINARY, Run, Status
from batch_scoring.errors import AnotherRunActive, BatchScoringError
from batch_scoring.scoring.events import DriftEvaluated, Event, RunFinished, RunTookOver
from batch_scoring.settings import Settings
from batch_scoring.sinks.notifications import Delivery, Kind, Notice, notify_aside
from batch_scoring.sinks.repetition import Repetition, Unrecorded, repetition, same_cause
from batch_scoring.store.engine.database import Database
from batch_scoring.store.runs import records
from batch_scoring.store.runs.history import Failure, failures_in_a_row, over_limit_in_a_row


@dataclass
class Notifier:
    """Sends notices about the runs of a job. Raises nothing: a delivery failure fails no run."""

    job: Job
    settings: Settings
    report: Callable[[Delivery], None]
    """Called with the result of each delivery."""
    is_finished: bool = False
    _threads: list[threading.Thread] = field(default_factory=list)
    """Deliveries under way. No run waits for them; its process does, once the run has ended."""

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunFinished):
            self.is_finished = True
        if not isinstance(event, RunFinished | RunTookOver | DriftEvaluated) or not self._has_recipients:
            return
        if isinstance(event, DriftEvaluated):
            self._notify_of_drift(event)
            return
        database = Database(self.settings.database_url)
        try:
            if isinstance(event, RunTookOver):
                self._notify_of_abandoned(database, event.abandoned.run_id)
            else:
                self._notify_of(database, event.run)
        finally:
            database.dispose()
            if self.is_finished:
                self._wait()

    def without_record(self, exc: BatchScoringError) -> None:
        """Send a notice of a run that failed before it was recorded, or whose end could not be recorded."""
        if self.is_finished or isinstance(exc, AnotherRunActive) or not self._has_recipients:
            return
        cause = same_cause(type(exc).__name__, str(exc))
        repeated = self._unrecorded.failed(cause, datetime.now(UTC))
        message = f"{type(exc).__name__}: {exc}\nThis run is not recorded in the database."
        self._send_if_notable("run_failed", None, message, repeated)
        self._wait()

    @property
    def _has_recipients(self) -> bool:
        return bool(self.settings.recipients.webhook_url or self.settings.recipients.smtp_url)

    @property
    def _unrecorded(self) -> Unrecorded:
        return Unrecorded(self.settings.database_url, self.job.name)

    def _notify_of(self, database: Database, run: Run) -> None:
        unrecorded = self._unrecorded.ended()
        is_ordinary = run.trigger in ORDINARY
        try:
            failures = failures_in_a_row(database, self.job.name, until=run.run_id) if is_ordinary else []
            over = self._over_limit(database, run) if is_ordinary else []
        except BatchScoringError:  # the earlier runs are unknown: rather one notice too many
            failures, over = [], []
        if run.status is not Status.SUCCEEDED:
            self._notify_of_failure(run, failures)
            return
        limit = self.job.predictions.max_quarantined
        if self._is_over_limit(run):
            message = (
                f"{run.quarantined_count:,} of {counted(run.read_count, 'row')}"
                f" {were(run.quarantined_count)} quarantined, more than the share of"
                f" {limit:g} that the job allows"
            )
            self._send_if_notable("quarantine_over_limit", run, message, repetition(over) if over else None)
        if failures or unrecorded:
            self._notify_of_recovery(run, failures, unrecorded)

    def _notify_of_failure(self, run: Run, failures: Sequence[Failure]) -> None:
        message = f"{run.error_type}: {run.error_message}" if run.error_type else run.error_message or run.status.value
        kind: Kind = "run_held" if run.status is Status.HELD else "run_failed"
        self._send_if_notable(kind, run, message, repeated_failure(failures))

    def _notify_of_recovery(self, run: Run, failures: Sequence[Failure], unrecorded: Repetition | None) -> None:
        count = len(failures) + (unrecorded.count if unrecorded else 0)
        since = min([*(failure.started_at for failure in failures), *([unrecorded.since] if unrecorded else [])])
        before = "1 failed run" if count == 1 else f"{count} failed runs"
        self._send(
            "recovered",
            run,
            f"run {run.run_id} succeeded after {before}, the first at {since.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",
        )

    def _notify_of_abandoned(self, database: Database, run_id: int) -> None:
        """Send the notice of a run whose process crashed, before this one may crash for the same reason."""
        try:
            run = records.get_run(database, run_id)
            failures = failures_in_a_row(database, self.job.name, until=run_id)
        except BatchScoringError:
            return
        if run is not None and run.trigger in ORDINARY:
            self._notify_of_failure(run, failures)

    def _notify_of_drift(self, event: DriftEvaluated) -> None:
        """One notice of all alerts that changed with a run; ``notified_at`` in the database says that it was sent."""
        lines = [
            *event.raised,
            *(f"still {text}" for text in event.reminded),
            *(f"no longer {text}" for text in event.cleared),
        ]
        message = "\n".join([*lines, f"batch-scoring monitor {self.job.name}"])
        kind: Kind = "drift" if event.raised or event.reminded else "drift_over"
        notice = self._notice(kind, event.run_id, message)
        self._threads.append(notify_aside(self.settings.recipients, notice, self.report))

    def _over_limit(self, database: Database, run: Run) -> Sequence[datetime]:
        if not self._is_over_limit(run):
            return []
        return over_limit_in_a_row(database, self.job.name, self.job.predictions.max_quarantined, until=run.run_id)

    def _is_over_limit(self, run: Run) -> bool:
        return not self.job.predictions.allows(quarantined=run.quarantined_count, read=run.read_count)

    def _send_if_notable(self, kind: Kind, run: Run | None, message: str, repeated: Repetition | None) -> None:
        if repeated is None or repeated.is_notable:
            self._send(kind, run, message, repeated)

    def _send(self, kind: Kind, run: Run | None, message: str, repeated: Repetition | None = None) -> None:
        notice = self._notice(kind, None if run is None else run.run_id, message, repeated)
        self._threads.append(notify_aside(self.settings.recipients, notice, self.report))

    def _notice(self, kind: Kind, run_id: int | None, message: str, repeated: Repetition | None = None) -> Notice:
        return Notice(
            kind=kind,
            job=self.job.name,
            run_id=run_id,
            message=message,
            host=socket.gethostname(),
            count=1 if repeated is None else repeated.count,
            since=None if repeated is None or repeated.count == 1 else repeated.since,
        )

    def _wait(self) -> None:
        """Wait for deliveries, which have a deadline; the run has ended."""
        while self._threads:
            self._threads.pop().join()


def repeated_failure(failures: Sequence[Failure]) -> Repetition | None:
    """How often the last of consecutive failures happened with the same cause; None if there are no failures."""
    if not failures:
        return None
    cause = same_cause(failures[-1].error_type, failures[-1].error_message)
    return repetition(
        [failure.started_at for failure in failures if same_cause(failure.error_type, failure.error_message) == cause],
        is_one_state=failures[-1].status is Status.HELD,
    )
