"""Logs each run that has scored to MLflow, after its last COMMIT. A failure is a warning: the run has ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from batch_scoring.domain.job import Job
from batch_scoring.errors import BatchScoringError
from batch_scoring.scoring.events import Event, ModelResolved, RunFinished


@dataclass(slots=True)
class MlflowRuns:
    """An observer of the runs of a job with ``[mlflow] log_runs``."""

    job: Job
    fault: Callable[[str, str], None]
    """Called with the name of this sink and the reason of a failure."""
    _model_id: str | None = None

    def __call__(self, event: Event) -> None:
        """Log a run that has ended and read rows."""
        if isinstance(event, ModelResolved):
            self._model_id = event.mlflow_model_id
        if not isinstance(event, RunFinished) or not event.run.read_count:
            return
        from batch_scoring.mlflow.server import server_of
        from batch_scoring.mlflow.tracking import log_run

        try:
            log_run(server_of(self.job), self.job, event.run, self._model_id)
        except BatchScoringError as exc:
            self.fault("mlflow", str(exc))
