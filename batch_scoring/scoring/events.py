"""The facts of a run, each emitted once. Logging, the progress bar and all else listen to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from batch_scoring.domain.runs import ChunkCounts, Mode, Run, Takeover


@dataclass(frozen=True, kw_only=True, slots=True)
class RunStarted:
    """The run owns its job."""

    run_id: int
    job: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RunTookOver:
    """A stalled run was marked abandoned to make way for this one."""

    run_id: int
    job: str
    abandoned: Takeover


@dataclass(frozen=True, kw_only=True, slots=True)
class RunPlanned:
    """What is due is known."""

    run_id: int
    job: str
    due_count: int
    mode: Mode | None
    is_first_of_unversioned: bool = False
    """No run of the job succeeded before, and the source names no changed_at: each row is scored once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionMismatchAccepted:
    """The model scores under another scikit-learn than it was fitted with, because somebody allowed it."""

    run_id: int
    job: str
    difference: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ThresholdOverruled:
    """The job decides at another threshold than the model that scores has of its own."""

    run_id: int
    job: str
    difference: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoringIsolated:
    """The runs before this one crashed, so the model is in a process of its own: a crashing row is quarantined."""

    run_id: int
    job: str
    crashes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StageSeconds:
    """How long a chunk took in each stage; stages of neighbouring chunks overlap."""

    read: float
    score: float
    write: float


@dataclass(frozen=True, kw_only=True, slots=True)
class CommittedChunk:
    """What one committed transaction wrote."""

    counts: ChunkCounts
    reasons: Mapping[str, int]
    seconds: StageSeconds


@dataclass(frozen=True, kw_only=True, slots=True)
class ChunkCommitted:
    """A chunk's outcomes stand in the database."""

    run_id: int
    job: str
    counts: ChunkCounts
    reasons: Mapping[str, int]
    """Quarantined rows by reason code."""
    seconds: StageSeconds


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFinished:
    """The run is closed, whatever came of it."""

    job: str
    run: Run


Event = (
    RunStarted
    | RunTookOver
    | RunPlanned
    | VersionMismatchAccepted
    | ThresholdOverruled
    | ScoringIsolated
    | ChunkCommitted
    | RunFinished
)
Observer = Callable[[Event], None]
"""Called in the run's thread; what it raises fails the run, so an observer that can fail must not raise."""
