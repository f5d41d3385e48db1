"""Promoting a model version, and the effect: its metrics compared with those of the previous version, and for each
job the number of current predictions by other versions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batch_scoring.domain.job import Job
from batch_scoring.domain.manifest import Manifest
from batch_scoring.domain.names import ALIAS, check_name
from batch_scoring.errors import BatchScoringError
from batch_scoring.login import login
from batch_scoring.registry import verification
from batch_scoring.scoring.events import ModelPromoted, Observer, emit
from batch_scoring.store import registry
from batch_scoring.store.engine.database import Database
from batch_scoring.store.outcomes.counts import VersionCount, count_by_version
from batch_scoring.store.schema import job_tables


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One metric of two versions; None if a version lacks it."""

    name: str
    before: Any
    now: Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Effect:
    """The effect of a promotion on a job."""

    job: str
    current_count: int
    other_count: int
    """Current predictions by another version than the promoted one."""
    versions: Sequence[VersionCount]
    commands: Sequence[str]
    """Commands that score the predictions of the other versions again, one for each version."""
    problem: str | None = None
    """Why the effect could not be determined; None if it was."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Promotion:
    """A promotion that was recorded, with its effect."""

    name: str
    alias: str
    version: int
    version_before: int | None
    figures: Sequence[Figure]
    jobs: Sequence[Effect]
    """The jobs whose runs use the alias."""


def describe(
    database: Database, jobs: Iterable[Job], *, name: str, alias: str, version: int, version_before: int | None
) -> Promotion:
    """Describe the effect of a recorded promotion. Raises NoSuchModel, UnusableModel.

    A job whose tables cannot be read is included with the problem.
    """
    now = registry.get_version(database, name, version).manifest
    before = None if version_before is None else registry.get_version(database, name, version_before).manifest
    concerned = [job for job in jobs if (job.model.name, job.model.alias) == (name, alias)]
    return Promotion(
        name=name,
        alias=alias,
        version=version,
        version_before=version_before,
        figures=[
            Figure(name=figure, before=None if before is None else value(before), now=value(now))
            for figure, value in _FIGURES.items()
            if value(now) is not None or (before is not None and value(before) is not None)
        ],
        jobs=[_effect(database, job, name, version) for job in concerned],
    )


def _effect(database: Database, job: Job, name: str, version: int) -> Effect:
    try:
        with database.read() as connection:
            layout = job_tables.registered_layout(connection, job)
            versions = [] if layout is None else count_by_version(connection, layout)
    except BatchScoringError as exc:
        return Effect(job=job.name, current_count=0, other_count=0, versions=(), commands=(), problem=str(exc))
    others = [one for one in versions if (one.model_name, one.model_version) != (name, version)]
    return Effect(
        job=job.name,
        current_count=sum(one.rows for one in versions),
        other_count=sum(one.rows for one in others),
        versions=versions,
        commands=[
            f"batch-scoring rescore {job.name} --scored-by-version {number} --dry-run"
            for number in dict.fromkeys(one.model_version for one in others)
            if number != version
        ],
    )


_FIGURES: dict[str, Callable[[Manifest], Any]] = {
    "algorithm": lambda manifest: manifest.algorithm,
    "cross-validated accuracy": lambda manifest: manifest.metrics and manifest.metrics.cross_validation.accuracy,
    "ROC AUC": lambda manifest: manifest.metrics and manifest.metrics.cross_validation.roc_auc,
    "log loss": lambda manifest: manifest.metrics and manifest.metrics.cross_validation.log_loss,
    "held-out accuracy": lambda manifest: manifest.metrics and manifest.metrics.held_out.accuracy,
    "training rows": lambda manifest: manifest.training_data and manifest.training_data.rows,
    "created": lambda manifest: manifest.created_at,
}


def promote(
    database: Database,
    artifacts_dir: Path,
    name: str,
    version: int,
    *,
    alias: str = "champion",
    reason: str | None = None,
    allow_version_mismatch: bool = False,
    observers: Sequence[Observer] = (),
) -> int | None:
    """Point an alias at a version once its artifact verifies; returns the version it pointed at before.

    Raises InputFault for an invalid alias, SchemaOutOfDate, ModelRefused, DatabaseFault.
    """
    check_name("--alias", alias, ALIAS)
    verification.verify(database, artifacts_dir, name, version, allow_version_mismatch=allow_version_mismatch)
    person = login()
    before = registry.promote(database, name=name, alias=alias, version=version, promoted_by=person, reason=reason)
    event = ModelPromoted(name=name, alias=alias, version=version, previous_version=before, promoted_by=person)
    emit(observers, event)
    return before
