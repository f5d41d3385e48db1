"""What a run learns while its rows are scored: chunks that were committed, whether to go on, how the model loaded."""

from __future__ import annotations

import threading
from collections import Counter

from batch_scoring.domain.decision import threshold_override
from batch_scoring.errors import EveryRowFailed, RunStopped
from batch_scoring.scoring import preparation
from batch_scoring.scoring.events import (
    ChunkCommitted,
    CommittedChunk,
    Observer,
    ThresholdOverruled,
    VersionMismatchAccepted,
)
from batch_scoring.scoring.heartbeat import Heartbeat
from batch_scoring.scoring.plan import RunPlan
from batch_scoring.scoring.transient import retry_transient
from batch_scoring.store.engine.database import Database
from batch_scoring.store.runs import records

STOPPED = "the run was asked to stop and did so between two chunks; the rest is due"


class Progress:
    """Called by an engine, in the run's thread."""

    def __init__(
        self, database: Database, plan: RunPlan, heartbeat: Heartbeat, stop: threading.Event, emit: Observer
    ) -> None:
        self.stop = stop
        """Set when the run is to end at the next chunk boundary."""
        self.emit = emit
        self.done_count = 0
        """Rows scored or quarantined so far."""
        self._database = database
        self._plan = plan
        self._heartbeat = heartbeat
        self._reasons: Counter[str] = Counter()
        """Rows quarantined, by code, since the last that was scored."""

    def model_loaded(self, version_difference: str | None) -> None:
        """Record the libraries that score, and what a person chose to overlook."""
        plan = self._plan
        override = threshold_override(plan.job, plan.model.manifest)
        overrides = {"scikit_learn_version": version_difference, "threshold": override}
        environment = preparation.environment({name: text for name, text in overrides.items() if text})
        retry_transient(lambda: records.record_environment(self._database, plan.run_id, environment))
        if version_difference:
            self.emit(VersionMismatchAccepted(run_id=plan.run_id, job=plan.job.name, difference=version_difference))
        if override:
            self.emit(ThresholdOverruled(run_id=plan.run_id, job=plan.job.name, difference=override))

    def committed(self, chunk: CommittedChunk) -> None:
        """Count a chunk and emit it."""
        self.done_count += chunk.counts.scored + chunk.counts.quarantined
        if chunk.counts.scored:
            self._reasons.clear()
        else:
            self._reasons.update(chunk.reasons)
        self.emit(
            ChunkCommitted(
                run_id=self._plan.run_id,
                job=self._plan.job.name,
                counts=chunk.counts,
                reasons=chunk.reasons,
                seconds=chunk.seconds,
            )
        )

    def check(self) -> None:
        """Raise what ends the run between two chunks: Fenced, RunStopped, EveryRowFailed."""
        self._heartbeat.check()
        if self.stop.is_set():
            raise RunStopped(STOPPED)
        self.check_common_fault()

    def check_common_fault(self) -> None:
        """Raise EveryRowFailed where chunks of few rows say together what one of many rows would say by itself: that
        the fault is the model's or the source's.
        """
        from batch_scoring.model.scorer import FEWEST_ROWS_FOR_A_COMMON_FAULT

        if len(self._reasons) != 1 or self._reasons.total() < FEWEST_ROWS_FOR_A_COMMON_FAULT:
            return
        code, count = self._reasons.most_common(1)[0]
        raise EveryRowFailed(
            f"{count} rows failed alike ({code}), chunk after chunk, and none was scored between them, so the fault is"
            " not the rows'; they are quarantined, the rest is due. Look at the source or the model, run"
            f" `batch-scoring quarantine retry {self._plan.job.name}`, then run again"
        )
