"""The progress of a run: committed chunks, the loaded model, and whether the run must end."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from functools import partial

from batch_scoring.domain.decision import threshold_override
from batch_scoring.domain.runs import ScoredBy
from batch_scoring.errors import EveryRowFailed, RunStopped
from batch_scoring.scoring import preparation
from batch_scoring.scoring.events import (
    ChallengerCounts,
    ChallengerFailed,
    ChunkCommitted,
    CommittedChunk,
    EngineChosen,
    Observer,
    ThresholdOverruled,
    VersionMismatchAccepted,
)
from batch_scoring.scoring.heartbeat import Heartbeat
from batch_scoring.scoring.plan import RunPlan
from batch_scoring.scoring.transient import retry_transient
from batch_scoring.store.engine.database import Database
from batch_scoring.store.runs import records

STOPPED = "the run was asked to stop and stopped between two chunks; the rest is due"


@dataclass(slots=True)
class _Challenged:
    """What a challenger did so far, by alias."""

    version: int | None
    failure: str | None
    scored: int = 0
    failed: int = 0


class Progress:
    """Receives the progress of an engine, in the run's thread."""

    def __init__(
        self, database: Database, plan: RunPlan, heartbeat: Heartbeat, stop: threading.Event, emit: Observer
    ) -> None:
        self.stop = stop
        """Set to end the run at the next chunk boundary."""
        self.emit = emit
        self.done_count = 0
        """Rows scored or quarantined so far."""
        self._database = database
        self._plan = plan
        self._heartbeat = heartbeat
        self._scored_by = ScoredBy(engine="python")
        self._challengers: dict[str, _Challenged] = {}
        self._reasons: Counter[str] = Counter()
        """Rows quarantined since the last scored row, by reason code."""

    def model_loaded(self, version_difference: str | None) -> None:
        """Record engine, library versions and overrides with the run, and emit the overrides.

        Raises Fenced, DatabaseFault.
        """
        plan = self._plan
        override = threshold_override(plan.job, plan.model.manifest)
        overrides = {"scikit_learn_version": version_difference, "threshold": override}
        environment = preparation.environment({name: text for name, text in overrides.items() if text})
        record = partial(records.record_environment, self._database, plan.run_id, environment, self._scored_by)
        retry_transient(record)
        if version_difference:
            self.emit(VersionMismatchAccepted(run_id=plan.run_id, job=plan.job.name, difference=version_difference))
        if override:
            self.emit(ThresholdOverruled(run_id=plan.run_id, job=plan.job.name, difference=override))

    def engine_chosen(self, scored_by: ScoredBy) -> None:
        """Emit the engine. It is recorded with the run when the model has been loaded."""
        self._scored_by = scored_by
        plan = self._plan
        self.emit(EngineChosen(run_id=plan.run_id, job=plan.job.name, engine=scored_by.engine, reason=scored_by.reason))

    def compared(self, scored_by: ScoredBy) -> None:
        """Record how scores of the database and of the model differ. Raises Fenced, DatabaseFault."""
        self._scored_by = scored_by
        retry_transient(partial(records.record_engine, self._database, self._plan.run_id, scored_by))

    def committed(self, chunk: CommittedChunk) -> None:
        """Count a committed chunk and emit its event."""
        for counts in chunk.challenged:
            self.challenger_did(counts)
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

    def planned(self) -> None:
        """Record the challengers, and emit which of them cannot score. Raises Fenced, DatabaseFault."""
        for one in self._plan.challengers:
            self._challengers[one.alias] = _Challenged(version=one.version, failure=one.failure)
            if one.failure is not None:
                self._emit_failure(one.alias, one.failure)
        self.record_challengers()

    def record_challengers(self) -> None:
        """Record what each challenger did so far. Raises Fenced, DatabaseFault."""
        if not self._challengers:
            return
        found = [
            {
                "alias": alias,
                "model_version": one.version,
                "scored_count": one.scored,
                "failed_count": one.failed,
                "failure": one.failure,
            }
            for alias, one in self._challengers.items()
        ]
        retry_transient(partial(records.record_challengers, self._database, self._plan.run_id, found))

    def challenger_did(self, counts: ChallengerCounts) -> None:
        """Count what a challenger did; emit its failure, if it has failed now."""
        one = self._challengers[counts.alias]
        one.scored += counts.scored
        one.failed += counts.failed
        if counts.failure is not None and one.failure is None:
            one.failure = counts.failure
            self._emit_failure(counts.alias, counts.failure)

    def _emit_failure(self, alias: str, failure: str) -> None:
        self.emit(ChallengerFailed(run_id=self._plan.run_id, job=self._plan.job.name, alias=alias, failure=failure))

    def check(self) -> None:
        """Raise Fenced, RunStopped or EveryRowFailed if the run must end between two chunks."""
        self._heartbeat.check()
        if self.stop.is_set():
            raise RunStopped(STOPPED)
        self.check_common_fault()

    def check_common_fault(self) -> None:
        """Raise EveryRowFailed if all rows of consecutive small chunks failed with the same error.

        A single chunk of as many rows would raise it: the cause is the model or the source, not the rows.
        """
        from batch_scoring.model.scorer import FEWEST_ROWS_FOR_A_COMMON_FAULT

        if len(self._reasons) != 1 or self._reasons.total() < FEWEST_ROWS_FOR_A_COMMON_FAULT:
            return
        code, count = self._reasons.most_common(1)[0]
        raise EveryRowFailed(
            f"{count} consecutive rows failed with the same error ({code}), so the rows are not the cause; they are"
            " quarantined, the rest is due. Check the source and the model, run"
            f" `batch-scoring quarantine retry {self._plan.job.name}`, then run again"
        )
