"""Runs: what their record holds, and what a chunk adds to it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

Trigger = Literal["cli", "schedule", "rescore", "retry", "purge"]


Mode = Literal["sweep", "lookback"]


ORDINARY: tuple[Trigger, ...] = ("cli", "schedule")
"""What starts the runs that score what is due."""


class Status(StrEnum):
    """Where a run stands."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ABANDONED = "abandoned"
    SKIPPED = "skipped"


class EndReason(StrEnum):
    """Why a run ended."""

    COMPLETED = "completed"
    """It did all that was to be done."""
    ERROR = "error"
    """``error_type`` and ``error_message`` say which."""
    STOPPED = "stopped"
    """It was asked to stop."""
    WORKER_CRASHED = "worker_crashed"
    """A worker process of it crashed or was killed."""
    PROCESS_CRASHED = "process_crashed"
    """Its own process crashed or was killed, which its scheduler service saw."""
    STALLED = "stalled"
    """It showed no heartbeat for too long, and another run took over."""
    ANOTHER_RUN_ACTIVE = "another_run_active"
    """It did nothing, because another run owned the job or filled its slot."""

    @property
    def is_crash(self) -> bool:
        """A process of the run ended without reporting a result, as far as can be told."""
        return self in (EndReason.WORKER_CRASHED, EndReason.PROCESS_CRASHED, EndReason.STALLED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One row of ``scoring_runs``. Times are UTC, by the database's clock."""

    run_id: int
    job: str
    trigger: str
    status: Status
    scheduled_for: datetime | None
    started_at: datetime
    heartbeat_at: datetime
    finished_at: datetime | None
    model_name: str | None
    model_version: int | None
    artifact_sha256: str | None
    decision_policy: dict[str, Any] | None
    """How labels were read from the model's outputs, see DecisionPolicy; None until the model is known."""
    due_count: int
    scored_count: int
    superseded_count: int
    quarantined_count: int
    unseen_category_count: int
    chunk_count: int
    end_reason: EndReason | None
    """None while running."""
    error_type: str | None
    error_message: str | None
    failed_keys: dict[str, Any] | None
    """First and last key and row count of the chunk whose rows all failed."""
    host: str
    process_id: int
    package_version: str
    environment: dict[str, Any]
    job_config: dict[str, Any]
    requested_by: str
    reason: str | None
    mode: Mode | None
    """Where it looked for what is due; None until it did, and where it was told what to do."""
    sweep_only_count: int
    continues_run_id: int | None
    """The interrupted rescore whose rest this run did."""
    purged_count: int

    @property
    def read_count(self) -> int:
        """Rows read and settled: scored or quarantined."""
        return self.scored_count + self.quarantined_count

    @property
    def seconds(self) -> float | None:
        """From start to end, None while running."""
        return (self.finished_at - self.started_at).total_seconds() if self.finished_at else None


@dataclass(frozen=True, kw_only=True, slots=True)
class ChunkCounts:
    """What one chunk adds to its run's counters."""

    scored: int
    superseded: int
    quarantined: int
    unseen_category: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Takeover:
    """A stalled run that was marked abandoned."""

    run_id: int
    host: str
    process_id: int
    heartbeat_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class StartedRun:
    """A run that owns its job, and the stalled run it took the job over from, if it did."""

    run_id: int
    takeover: Takeover | None
