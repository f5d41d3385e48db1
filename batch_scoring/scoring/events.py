"""Events, each emitted once: of a run, of the model registry and of legal holds. The sinks are their observers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batch_scoring.domain.runs import ChunkCounts, Engine, Mode, Run, StageSeconds, Takeover

if TYPE_CHECKING:
    from batch_scoring.mlflow.resolution import Resolved


@dataclass(frozen=True, kw_only=True, slots=True)
class RunStarted:
    """The run owns its job."""

    run_id: int
    job: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RunTookOver:
    """The run took the job over from a stalled run, which was marked abandoned."""

    run_id: int
    job: str
    abandoned: Takeover


@dataclass(frozen=True, kw_only=True, slots=True)
class RunPlanned:
    """The rows that are due were counted."""

    run_id: int
    job: str
    due_count: int
    mode: Mode | None
    is_first_of_unversioned: bool = False
    """No run of the job succeeded before, and the job sets no ``changed_at``, so each row is scored only once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GateNotChecked:
    """The due rows could not be compared with the reference of the model, so the run is not held."""

    run_id: int
    job: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldRowsReleased:
    """The due rows breach a limit, and are like those of a held run that was released."""

    run_id: int
    job: str
    released_run_id: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelResolved:
    """The URI of the job's model in MLflow was resolved."""

    run_id: int
    job: str
    uri: str
    """The URI of the version, without an alias."""
    version: int
    """Its number in the registry of this package."""
    mlflow_model_id: str | None
    """The logged model, as MLflow numbers it."""
    trusted_by: str
    """``training``, ``tag`` or ``first use``."""
    note: str | None
    """What a user must know about it: that it is new here, or that the server was not reached."""
    is_cached: bool
    """Whether the server was not reached."""

    @classmethod
    def of(cls, run_id: int, job: str, resolved: Resolved) -> ModelResolved:
        """The event of a resolution."""
        return cls(
            run_id=run_id,
            job=job,
            uri=resolved.known.uri,
            version=resolved.version.version,
            mlflow_model_id=resolved.known.mlflow_model_id,
            trusted_by=resolved.known.trusted_by,
            note=resolved.note,
            is_cached=resolved.unreached_for is not None,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionMismatchAccepted:
    """The model scores under another scikit-learn version than it was fitted with, which an option allowed."""

    run_id: int
    job: str
    difference: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ThresholdOverruled:
    """The job sets a decision threshold that differs from the model's own."""

    run_id: int
    job: str
    difference: str


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineChosen:
    """The engine of the run was chosen."""

    run_id: int
    job: str
    engine: Engine
    reason: str | None
    """Why it is not the database; None if it is, or if the job demands another one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineDistrusted:
    """The database computed other scores than the model, so the rest of the run is scored in Python."""

    run_id: int
    job: str
    message: str
    scored_count: int
    """Predictions of the run that the database has written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoringIsolated:
    """The previous runs crashed, so rows are scored in a child process, where a crashing row can be quarantined."""

    run_id: int
    job: str
    crashes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ChallengerCounts:
    """What a challenger did with the rows of a chunk that have a prediction."""

    alias: str
    scored: int
    failed: int
    failure: str | None = None
    """Why it does not score any longer; None if it does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChallengerFailed:
    """A challenger does not score, or no longer does. The run goes on without it."""

    run_id: int
    job: str
    alias: str
    failure: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CommittedChunk:
    """What one committed transaction wrote."""

    counts: ChunkCounts
    reasons: Mapping[str, int]
    seconds: StageSeconds
    challenged: Sequence[ChallengerCounts] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ChunkCommitted:
    """The outcomes of a chunk were committed."""

    run_id: int
    job: str
    counts: ChunkCounts
    reasons: Mapping[str, int]
    """Quarantined rows by reason code."""
    seconds: StageSeconds


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFinished:
    """The run ended, successfully or not, and its record was closed."""

    job: str
    run: Run


@dataclass(frozen=True, kw_only=True, slots=True)
class DriftEvaluated:
    """Alerts of drift were raised or cleared with a run, or people are to be reminded of open ones."""

    run_id: int
    job: str
    raised: tuple[str, ...]
    cleared: tuple[str, ...]
    reminded: tuple[str, ...]
    """What was measured when each was raised."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DriftNotEvaluated:
    """The rows of a run were not compared with a reference."""

    run_id: int
    job: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelRegistered:
    """A version was added to the model registry."""

    name: str
    version: int
    artifact_sha256: str
    registered_by: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelPromoted:
    """An alias was pointed at a model version."""

    name: str
    alias: str
    version: int
    previous_version: int | None
    """The version that the alias pointed at before; None if it pointed at none."""
    promoted_by: str


@dataclass(frozen=True, kw_only=True, slots=True)
class HoldPlaced:
    """A legal hold was placed on a key or on a run. The key is not part of the event."""

    hold_id: int
    job: str
    held_run_id: int | None
    """The run whose rows are on hold; None if it is a key."""
    placed_by: str


@dataclass(frozen=True, kw_only=True, slots=True)
class HoldReleased:
    """A legal hold was ended."""

    hold_id: int
    released_by: str


RunEvent = (
    RunStarted
    | RunTookOver
    | RunPlanned
    | ModelResolved
    | VersionMismatchAccepted
    | ThresholdOverruled
    | EngineChosen
    | EngineDistrusted
    | ScoringIsolated
    | ChallengerFailed
    | GateNotChecked
    | HeldRowsReleased
    | ChunkCommitted
    | DriftEvaluated
    | DriftNotEvaluated
    | RunFinished
)
Event = RunEvent | ModelRegistered | ModelPromoted | HoldPlaced | HoldReleased
Observer = Callable[[Event], None]
"""Called synchronously, for a run in the run's thread. An exception of an observer fails the run or operation."""


def emit(observers: Iterable[Observer], event: Event) -> None:
    """Call every observer with an event."""
    for observer in observers:
        observer(event)
