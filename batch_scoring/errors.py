"""Every error the package raises on purpose: one root, typed children, and the exit code each stands for.

A message says what is wrong and then what to do. It names keys, columns, files and counts, never a value from
an applicant's row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any


class ExitCode(IntEnum):
    """The exit status of a command, as cron, systemd and a shell see it."""

    DONE = 0
    RUN_FAILED = 1
    WRONG_USAGE = 2
    MODEL_REFUSED = 3
    TOO_MANY_QUARANTINED = 4
    UNHEALTHY = 5
    ANOTHER_RUN_ACTIVE = 75


class BatchScoringError(Exception):
    """The root of every error that the package raises on purpose."""

    exit_code: ExitCode = ExitCode.RUN_FAILED
    end_reason: str = "error"
    """What the record of a run that it ends says, see EndReason."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One thing that is wrong with the configuration."""

    where: str
    """The file, environment variable or table at fault."""
    key: str
    """The key inside it, such as ``source.table``; empty where the whole is meant."""
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


class SourceFault(BatchScoringError):
    """The source is not what its job says: a table, a column or a usable key is missing."""

    exit_code = ExitCode.WRONG_USAGE


class InputFault(BatchScoringError):
    """A file or a value given on the command line cannot be used."""

    exit_code = ExitCode.WRONG_USAGE


class SchemaOutOfDate(BatchScoringError):
    """The database lacks the tables this version of the package works with."""

    exit_code = ExitCode.WRONG_USAGE


class ModelRefused(BatchScoringError):
    """A model may not score: the root of everything that exits with code 3."""

    exit_code = ExitCode.MODEL_REFUSED


class NoSuchModel(ModelRefused):
    """The registry has no such model, version or alias."""


class ArtifactMissing(ModelRefused):
    """The artifact is registered, but its file does not exist."""


class ArtifactChanged(ModelRefused):
    """The bytes of the file are not those that were registered. They were not unpickled."""


class VersionMismatch(ModelRefused):
    """The artifact was fitted under another scikit-learn than the one installed."""


class GoldenRowsDiffer(ModelRefused):
    """The loaded model does not reproduce the scores it was registered with."""


class SignatureMismatch(ModelRefused):
    """The source does not have the columns and types of the model's signature."""


class UnusableModel(ModelRefused):
    """The object is not a fitted model of a supported kind."""


class AnotherRunActive(BatchScoringError):
    """Another run of the job is active; this one recorded itself as skipped and did nothing else."""

    exit_code = ExitCode.ANOTHER_RUN_ACTIVE
    end_reason = "another_run_active"


class Fenced(BatchScoringError):
    """The run no longer owns its job: it stalled and another run took over. Its open chunk was rolled back."""


class EveryRowFailed(BatchScoringError):
    """Every row of a chunk failed with the same fault, so the fault is not the rows': nothing was quarantined."""

    failed_keys: Mapping[str, Any] | None = None
    """``first`` and ``last`` key and number of ``rows`` of the chunk, where they are known."""


class RunStopped(BatchScoringError):
    """The run was asked to stop and did so between two chunks."""

    end_reason = "stopped"


class WorkerCrashed(BatchScoringError):
    """A worker process of the run ended without reporting a result."""

    end_reason = "worker_crashed"


class UnexpectedFault(BatchScoringError):
    """Something failed that the package did not foresee. Recorded by its type: its text may quote a row."""


class DatabaseFault(BatchScoringError):
    """The database refused an operation or failed. Subclasses say whether a retry can help."""


class TransientError(DatabaseFault):
    """A transient error: lock time-out, deadlock, serialization failure, restart of the server."""


class ConnectionLost(TransientError):
    """The connection was lost. Whether a COMMIT in progress took effect is not known."""


class DatabaseUnreachable(TransientError):
    """No connection could be made."""


class AccessDenied(DatabaseFault):
    """The database refused the user, the password or a privilege."""


class DatabaseReadOnly(DatabaseFault):
    """The database, or its file, can only be read."""


class DatabaseFull(DatabaseFault):
    """There is no space left where the database writes."""


class ConstraintViolated(DatabaseFault):
    """A constraint of the database refused the write."""


class TooMuchAtOnce(DatabaseFault):
    """A chunk exceeds what the database returns in one value. It is read again with half of the rows."""


class WrittenCountDiffers(DatabaseFault):
    """The database wrote another number of rows than it was sent. The chunk was rolled back."""
