"""What follows a run, whoever started it: telling somebody, and leaving metrics for those who have no service."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass

from batch_scoring.counting import counted, were
from batch_scoring.errors import AnotherRunActive, BatchScoringError
from batch_scoring.job import Job
from batch_scoring.scheduling.notifications import Kind, Notice, notify
from batch_scoring.scoring.events import Event, RunFinished
from batch_scoring.settings import Settings
from batch_scoring.store import runs
from batch_scoring.store.database import Database
from batch_scoring.store.runs import Run, Status


@dataclass
class AfterRun:
    """An observer of a run. It raises nothing: no run fails because nobody could be told."""

    job: Job
    settings: Settings
    fault: Callable[[str, str], None]
    """Hears of what could not be done, and why."""
    is_finished: bool = False

    def __call__(self, event: Event) -> None:
        if not isinstance(event, RunFinished):
            return
        self.is_finished = True
        database = Database(self.settings.database_url)
        try:
            self._tell_of(database, event.run)
            self._leave_metrics(database)
        finally:
            database.dispose()

    def without_record(self, exc: BatchScoringError) -> None:
        """Tell of a run that failed before it was recorded, or whose end could not be."""
        if not self.is_finished and not isinstance(exc, AnotherRunActive):
            self._send("run_failed", None, f"{type(exc).__name__}: {exc}")

    def _tell_of(self, database: Database, run: Run) -> None:
        if run.status is not Status.SUCCEEDED:
            self._send("run_failed", run, f"{run.error_type}: {run.error_message}")
            return
        limit = self.job.predictions.max_quarantined
        if run.read_count and run.quarantined_count > limit * run.read_count:
            message = (
                f"{run.quarantined_count:,} of {counted(run.read_count, 'row')}"
                f" {were(run.quarantined_count)} quarantined, more than the share of"
                f" {limit:g} that the job allows"
            )
            self._send("quarantine_over_limit", run, message)
        if self._failed_before(database, run):
            self._send("recovered", run, f"run {run.run_id} succeeded after one that did not")

    def _failed_before(self, database: Database, run: Run) -> bool:
        if not (self.settings.recipients.webhook_url or self.settings.recipients.smtp_url):
            return False
        try:
            earlier = runs.latest_ordinary(database, self.job.name, limit=1, before=run.run_id)
        except BatchScoringError:
            return False
        return bool(earlier) and earlier[0].status in (Status.FAILED, Status.ABANDONED)

    def _send(self, kind: Kind, run: Run | None, message: str) -> None:
        run_id = None if run is None else run.run_id
        notice = Notice(kind=kind, job=self.job.name, run_id=run_id, message=message, host=socket.gethostname())
        notify(self.settings.recipients, notice, self.fault)

    def _leave_metrics(self, database: Database) -> None:
        if self.settings.metrics_dir is None:
            return
        file = self.settings.metrics_dir / f"batch_scoring_{self.job.name}.prom"
        from batch_scoring.monitoring.metrics import write_metrics_file
        from batch_scoring.scoring.status import status_of
        from batch_scoring.store.history import run_totals

        try:
            totals = [total for total in run_totals(database) if total.job == self.job.name]
            write_metrics_file(file, totals, [status_of(database, self.job, self.settings.artifacts_dir)])
        except (BatchScoringError, OSError) as exc:
            self.fault(f"metrics file {file}", str(exc) if isinstance(exc, BatchScoringError) else type(exc).__name__)
