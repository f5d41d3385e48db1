"""Records of runs, and the counts that a chunk adds to them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

Trigger = Literal["cli", "schedule", "rescore", "retry", "purge"]


Mode = Literal["sweep", "lookback"]


Engine = Literal["python", "database"]
"""Where the rows of a run were scored."""


ORDINARY: tuple[Trigger, ...] = ("cli", "schedule")
"""Triggers of ordinary runs, which score the rows that are due."""


class Status(StrEnum):
    """The status of a run."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ABANDONED = "abandoned"
    SKIPPED = "skipped"
    HELD = "held"
    """It stopped before its first write, because its due rows are not like those that the model was trained on."""


class EndReason(StrEnum):
    """Why a run ended."""

    COMPLETED = "completed"
    """It finished its work."""
    ERROR = "error"
    """It failed; ``error_type`` and ``error_message`` hold the error."""
    STOPPED = "stopped"
    """A stop was requested."""
    WORKER_CRASHED = "worker_crashed"
    """One of its worker processes crashed or was killed."""
    PROCESS_CRASHED = "process_crashed"
    """Its own process crashed or was killed, as the scheduler service detected."""
    STALLED = "stalled"
    """It wrote no heartbeat for too long, and another run took over."""
    ANOTHER_RUN_ACTIVE = "another_run_active"
    """It did nothing, because another run owned the job or filled its slot."""
    HELD = "held"
    """Its due rows breach a limit of its job."""

    @property
    def is_crash(self) -> bool:
        """A process of the run ended without reporting a result, or is presumed to have."""
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
    """How labels were derived from the model's outputs, see DecisionPolicy; None until the model is loaded."""
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
    """The login as the operating system's environment names it."""
    database_user: str | None
    """The login as the database knows it, None on SQLite; and the user ID of the process."""
    os_user_id: int | None
    reason: str | None
    mode: Mode | None
    """The scan mode; None until it is recorded, and for manual runs."""
    sweep_only_count: int
    refresh_count: int
    """Of the rows due at its start, those whose outcome was only older than ``refresh``."""
    new_version_count: int
    """Of the rows due at its start, those whose prediction was only of another model version."""
    closed_count: int
    """Outcomes that it closed because their rows had left the source."""
    engine: Engine | None
    """Where its rows were scored; what the database could not score was left to Python. None if none was scored."""
    engine_reason: str | None
    """Why it is not the database, where the job allows it."""
    largest_difference: float | None
    """Between scores of the database and of the model, relative to scores above 1; None if it did not compare any."""
    challengers: list[dict[str, Any]] | None
    """Of each challenger: ``alias``, ``model_version``, ``scored_count``, ``failed_count``, and ``failure``, the reason
    why it does not score. None if the job has none."""
    continues_run_id: int | None
    """The interrupted rescore that this run continued."""
    purged_count: int

    @property
    def read_count(self) -> int:
        """Rows that were read and then scored or quarantined."""
        return self.scored_count + self.quarantined_count

    @property
    def seconds(self) -> float | None:
        """Seconds from start to end; None while running."""
        return (self.finished_at - self.started_at).total_seconds() if self.finished_at else None


@dataclass(frozen=True, kw_only=True, slots=True)
class ChunkCounts:
    """What one chunk adds to its run's counters."""

    scored: int
    superseded: int
    quarantined: int
    unseen_category: int
    closed: int = 0
    """Outcomes whose rows had left the source."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredBy:
    """Where the rows of a run are scored."""

    engine: Engine
    reason: str | None = None
    """Why it is not the database, where the job allows it."""
    largest_difference: float | None = None
    """See Run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StageSeconds:
    """Seconds that a chunk took in each stage. Stages of adjacent chunks overlap."""

    read: float
    score: float
    write: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Takeover:
    """A stalled run that was marked abandoned."""

    run_id: int
    host: str
    process_id: int
    heartbeat_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class StartedRun:
    """A run that owns its job, and the stalled run whose job it took over, if any."""

    run_id: int
    takeover: Takeover | None
