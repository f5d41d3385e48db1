"""Metrics of a job in a file for node_exporter's textfile collector, for runs outside the scheduler service."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from batch_scoring.domain.job import Job
from batch_scoring.errors import BatchScoringError
from batch_scoring.scoring.events import Event, RunFinished
from batch_scoring.settings import Settings
from batch_scoring.store.engine.database import Database


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricsFile:
    """An observer that writes the file after each run, if BATCH_SCORING_METRICS_DIR is set. Raises nothing."""

    job: Job
    settings: Settings
    fault: Callable[[str, str], None]
    """Called with the file and the reason if it could not be written."""

    def __call__(self, event: Event) -> None:
        if not isinstance(event, RunFinished) or self.settings.metrics_dir is None:
            return
        from batch_scoring.monitoring.health import status_of
        from batch_scoring.sinks.prometheus import write_metrics_file
        from batch_scoring.store.runs.history import run_totals

        file = self.settings.metrics_dir / f"batch_scoring_{self.job.name}.prom"
        database = Database(self.settings.database_url)
        try:
            totals = [total for total in run_totals(database) if total.job == self.job.name]
            write_metrics_file(file, totals, [status_of(database, self.job, self.settings.artifacts_dir)])
        except (BatchScoringError, OSError) as exc:
            self.fault(f"metrics file {file}", str(exc) if isinstance(exc, BatchScoringError) else type(exc).__name__)
        finally:
            database.dispose()
