"""An observer that evaluates the drift of a run when it has succeeded, and reports what changed as an event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from batch_scoring.domain.job import Job
from batch_scoring.domain.runs import ORDINARY, Run, Status
from batch_scoring.errors import BatchScoringError
from batch_scoring.scoring.events import DriftEvaluated, DriftNotEvaluated, Event, Observer, RunFinished, emit
from batch_scoring.store.drift.alerts import Alert
from batch_scoring.store.engine.database import Database


@dataclass(frozen=True, kw_only=True, slots=True)
class DriftEvaluation:
    """Evaluates the runs of a job. Raises nothing: monitoring fails no run."""

    job: Job
    database_url: str
    observers: Sequence[Observer]
    """They receive the event, before they learn that the run has finished."""

    def __call__(self, event: Event) -> None:
        if not isinstance(event, RunFinished) or event.run.status is not Status.SUCCEEDED:
            return
        if event.run.trigger not in ORDINARY:
            return
        run = event.run
        try:
            found = self._evaluated(run)
        except BatchScoringError as exc:
            found = DriftNotEvaluated(run_id=run.run_id, job=run.job, reason=str(exc))
        except Exception as exc:  # such as a row of the registry that nobody expects
            found = DriftNotEvaluated(run_id=run.run_id, job=run.job, reason=f"unexpected {type(exc).__name__}")
        if found is not None:
            emit(self.observers, found)

    def _evaluated(self, run: Run) -> DriftEvaluated | DriftNotEvaluated | None:
        from batch_scoring.monitoring.evaluation import evaluate

        database = Database(self.database_url)
        try:
            found = evaluate(database, self.job, run)
        finally:
            database.dispose()
        if found.raised or found.cleared or found.reminded:
            return DriftEvaluated(
                run_id=run.run_id,
                job=run.job,
                raised=tuple(alert.message for alert in found.raised),
                cleared=tuple(_since(alert) for alert in found.cleared),
                reminded=tuple(_since(alert) for alert in found.reminded),
            )
        if found.reason is not None:
            return DriftNotEvaluated(run_id=run.run_id, job=run.job, reason=found.reason)
        return None


def _since(alert: Alert) -> str:
    return f"{alert.message} (since {alert.raised_at:%Y-%m-%d})"
