"""Every error that the package raises intentionally, with the exit code of each.

A message describes the problem and then the remedy. It names keys, columns, files and counts, never a value from an
applicant's row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any


class ExitCode(IntEnum):
    """The exit status of a command, as cron, systemd and a shell see it."""

    DONE = 0
    RUN_FAILED = 1
    WRONG_USAGE = 2
    MODEL_REFUSED = 3
    TOO_MANY_QUARANTINED = 4
    UNHEALTHY = 5
    HELD = 6
    ANOTHER_RUN_ACTIVE = 75


class BatchScoringError(Exception):
    """The base class of every error that the package raises intentionally."""

    exit_code: ExitCode = ExitCode.RUN_FAILED
    end_reason: str = "error"
    """The ``end_reason`` of a run that the error ends, see EndReason."""
    run_status: str = "failed"
    """The status of such a run, see Status."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One problem of the configuration."""

    where: str
    """The file, environment variable or table at fault."""
    key: str
    """The key in it, such as ``source.table``; empty if the problem concerns all of it."""
    message: str
    """What was expected, and what to do."""

    def __str__(self) -> str:
        return f"{self.where}: {self.key + ': ' if self.key else ''}{self.message}"


class ConfigurationError(BatchScoringError):
    """Settings or job files are invalid. Carries every problem found."""

    exit_code = ExitCode.WRONG_USAGE

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> tuple[type[ConfigurationError], tuple[Sequence[Problem]]]:
        return type(self), (self.problems,)  # a worker's error reaches the run pickled


class UnknownJob(BatchScoringError):
    """No job file has this name."""

    exit_code = ExitCode.WRONG_USAGE

    def __init__(self, message: str = "", *, job: str | None = None) -> None:
        super().__init__(message)
        self.job = job


class SourceFault(BatchScoringError):
    """The source does not match its job: a table, a column or a usable key is missing."""

    exit_code = ExitCode.WRONG_USAGE


class InputFault(BatchScoringError):
    """A file or a value given on the command line cannot be used."""

    exit_code = ExitCode.WRONG_USAGE


class ExtraMissing(BatchScoringError):
    """A library that only some users need is not installed. The message names the extra of the package that has it."""

    exit_code = ExitCode.WRONG_USAGE

    @classmethod
    def of(cls, extra: str, what: str) -> ExtraMissing:
        """The error for an extra, and for what needs it as subject and verb: "plots need"."""
        return cls(f"{what} the extra: pip install 'batch-scoring[{extra}]'")


class SchemaOutOfDate(BatchScoringError):
    """The database schema is missing or is not that of this version of the package."""

    exit_code = ExitCode.WRONG_USAGE

    def __init__(self, message: str = "", *, found: str | None = None) -> None:
        super().__init__(message)
        self.found = found
        """The revision of the database; None if it has no schema of this package."""


class ModelRefused(BatchScoringError):
    """A model must not score rows: the base class of every error with exit code 3."""

    exit_code = ExitCode.MODEL_REFUSED


class NoSuchModel(ModelRefused):
    """The registry has no such model, version or alias."""

    def __init__(
        self, message: str = "", *, model: str | None = None, version: int | None = None, alias: str | None = None
    ) -> None:
        super().__init__(message)
        self.model = model
        self.version = version
        """The version that was requested."""
        self.alias = alias
        """The alias that was requested."""


class ArtifactMissing(ModelRefused):
    """The artifact is registered, but its file does not exist."""

    def __init__(self, message: str = "", *, path: Path | None = None) -> None:
        super().__init__(message)
        self.path = path
        """The file."""


class ArtifactChanged(ModelRefused):
    """The file differs from the registered artifact by its SHA-256. It was not unpickled."""

    def __init__(self, message: str = "", *, path: Path | None = None) -> None:
        super().__init__(message)
        self.path = path
        """The file; None if registry and run differ."""


class VersionMismatch(ModelRefused):
    """The model was fitted with another scikit-learn version than the installed one."""

    def __init__(self, message: str = "", *, fitted: str | None = None, installed: str | None = None) -> None:
        super().__init__(message)
        self.fitted = fitted
        """The version the model was fitted with."""
        self.installed = installed


class GoldenRowsDiffer(ModelRefused):
    """The loaded model does not reproduce the scores it was registered with."""

    def __init__(self, message: str = "", *, difference: float | None = None) -> None:
        super().__init__(message)
        self.difference = difference
        """The largest difference, relative to outputs above 1; None if shapes differ or the model fails."""


class EngineDiffers(ModelRefused):
    """The database computes other scores than the model, or cannot compute those of its golden rows."""

    def __init__(self, message: str = "", *, difference: float | None = None) -> None:
        super().__init__(message)
        self.difference = difference
        """The largest difference, relative to scores above 1; infinite where labels differ."""


class EngineUnavailable(ModelRefused):
    """The job demands the database engine, and the model, the job or the database does not allow it."""


class SignatureMismatch(ModelRefused):
    """The source does not have the columns and types of the model's signature."""


class ManifestNotSigned(ModelRefused):
    """Trusted keys are set, and none of them has signed the manifest of the model. Its file was not read."""


class TrackingServerRefused(ModelRefused):
    """MLflow's tracking server refuses access to the model."""


class PromotionRefused(ModelRefused):
    """Gates refuse a promotion, or it needs the approval of another login. The alias was not moved."""

    def __init__(self, message: str = "", *, reasons: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.reasons = reasons
        """A sentence for each gate that refuses."""


class UnusableModel(ModelRefused):
    """The object is not a fitted model of a supported kind."""


class TrackingServerUnavailable(BatchScoringError):
    """MLflow's tracking server cannot be reached, does not answer, fails, or cuts a download."""


class AnotherRunActive(BatchScoringError):
    """Another run of the job is active. This run was recorded as skipped and did nothing else."""

    exit_code = ExitCode.ANOTHER_RUN_ACTIVE
    end_reason = "another_run_active"

    def __init__(self, message: str = "", *, run_id: int | None = None) -> None:
        super().__init__(message)
        self.run_id = run_id
        """The active run, or the one that fills the slot; None if it has ended meanwhile."""


class Fenced(BatchScoringError):
    """The run no longer owns its job: it stalled and another run took over. Its open chunk was rolled back."""

    def __init__(self, message: str = "", *, run_id: int | None = None) -> None:
        super().__init__(message)
        self.run_id = run_id
        """The run that lost its job."""


class EveryRowFailed(BatchScoringError):
    """Every row of a chunk failed with the same error, so the rows are not the cause. No row was quarantined."""

    failed_keys: Mapping[str, Any] | None = None
    """``first`` and ``last`` key and the number of ``rows`` of the chunk, if known."""


class RunStopped(BatchScoringError):
    """The run was asked to stop and stopped between two chunks."""

    end_reason = "stopped"


class WorkerCrashed(BatchScoringError):
    """A worker process of the run ended without reporting a result."""

    end_reason = "worker_crashed"


class RunHeld(BatchScoringError):
    """The due rows breach a limit that holds a run. Nothing was written."""

    exit_code = ExitCode.HELD
    end_reason = "held"
    run_status = "held"


class UnexpectedFault(BatchScoringError):
    """An unexpected exception ended the run. Only its type is recorded: its message may quote a row."""


class DatabaseFault(BatchScoringError):
    """The database refused an operation or failed. Subclasses of TransientError are retried."""


class TransientError(DatabaseFault):
    """A transient error: lock timeout, deadlock, serialization failure or restart of the server."""


class ConnectionLost(TransientError):
    """The connection was lost. Whether a COMMIT in progress took effect is unknown."""


class DatabaseUnreachable(TransientError):
    """No connection could be established."""


class AccessDenied(DatabaseFault):
    """The database refused the user, the password or a privilege."""


class DatabaseReadOnly(DatabaseFault):
    """The database or its file is read-only."""


class DatabaseFull(DatabaseFault):
    """The disk of the database is full."""


class ConstraintViolated(DatabaseFault):
    """A constraint of the database refused the write."""


class TooMuchAtOnce(DatabaseFault):
    """A chunk is larger than the database can return in one value. It is read again with half of the rows."""


class WrittenCountDiffers(DatabaseFault):
    """The number of rows written differs from the number sent. The chunk was rolled back."""

    def __init__(
        self, message: str = "", *, table: str | None = None, sent: int | None = None, written: int | None = None
    ) -> None:
        super().__init__(message)
        self.table = table
        self.sent = sent
        """Rows."""
        self.written = written
        """Rows, as the database reports them."""
