"""The effect of a promotion: metrics compared with those of the previous version, and for each job the number of
current predictions by other versions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from batch_scoring.domain.job import Job
from batch_scoring.errors import BatchScoringError
from batch_scoring.registry.figures import Figure, figures
from batch_scoring.registry.gates import GateResult
from batch_scoring.store import registry
from batch_scoring.store.engine.database import Database
from batch_scoring.store.outcomes.counts import VersionCount, count_by_version
from batch_scoring.store.schema import job_tables


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
    """A promotion that was recorded, with its gates and its effect."""

    name: str
    alias: str
    version: int
    version_before: int | None
    figures: Sequence[Figure]
    gates: Sequence[GateResult]
    jobs: Sequence[Effect]
    """The jobs whose runs use the alias."""


def describe(
    database: Database,
    jobs: Iterable[Job],
    *,
    name: str,
    alias: str,
    version: int,
    version_before: int | None,
    gates: Sequence[GateResult] = (),
) -> Promotion:
    """Describe the effect of a recorded promotion. Raises NoSuchModel, UnusableModel.

    A job whose tables cannot be read is included with the problem.
    """
    now = registry.get_version(database, name, version).manifest
    before = None if version_before is None else registry.get_version(database, name, version_before).manifest
    concerned = [job for job in jobs if job.model.uses(name, alias)]
    return Promotion(
        name=name,
        alias=alias,
        version=version,
        version_before=version_before,
        figures=figures(before, now),
        gates=gates,
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
