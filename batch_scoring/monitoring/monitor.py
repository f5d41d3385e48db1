"""What ``monitor`` answers: the drift of each window of a job, and the reference it is measured against."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from batch_scoring.counting import counted
from batch_scoring.domain.decision import DecisionPolicy
from batch_scoring.domain.drift import Drift, DriftReport
from batch_scoring.domain.job import Job
from batch_scoring.domain.manifest import Manifest
from batch_scoring.domain.model_version import ModelVersion
from batch_scoring.domain.profile import Profile, Reference
from batch_scoring.domain.runs import Run
from batch_scoring.errors import InputFault
from batch_scoring.model.drift import compare
from batch_scoring.model.profiling import reference_for
from batch_scoring.scoring.reference import choose
from batch_scoring.store import registry
from batch_scoring.store.drift import reports
from batch_scoring.store.drift.windows import Window, windows
from batch_scoring.store.engine.clock import now
from batch_scoring.store.engine.database import Database
from batch_scoring.store.job_models import version_of_job
from batch_scoring.store.runs import records
from batch_scoring.store.runs.profiles import profile_of_run


@dataclass(frozen=True, kw_only=True, slots=True)
class Monitored:
    """A window and its drift."""

    window: Window
    report: DriftReport | None
    """None where nothing could be compared."""
    why_not: str | None
    """Why; None if it was compared."""

    @property
    def metrics(self) -> tuple[Drift, ...]:
        return () if self.report is None else self.report.metrics


def drift_of(
    database: Database, job: Job, *, since: datetime | None = None, uses_recorded: bool = True
) -> list[Monitored]:
    """The drift of the windows of a job that ended ``since`` a time, the oldest first; of the latest one with None.

    Recorded windows tell where one begins, unless the job is given with windows of another size. Raises ModelRefused,
    DatabaseFault.
    """
    after = reports.before_window(database, job.name, ended_before=since) if uses_recorded else 0
    found = windows(database, job, after=after)
    found = found[-1:] if since is None else [window for window in found if window.ended_at >= since]
    return compared(database, job, found)


def last_run_alone(database: Database, job: Job, window: Window) -> Monitored | None:
    """The drift of the last run of a window by itself, where some of its rows had been counted there before.

    Raises ModelRefused, DatabaseFault.
    """
    if window.run_count == 1:
        return None
    alone = windows(database, job, after=window.last_run - 1, until=window.last_run)
    if not any(one.again_count for one in alone):
        return None
    return next(iter(compared(database, job, alone)), None)


def compared(database: Database, job: Job, found: Iterable[Window]) -> list[Monitored]:
    """The drift of windows, each measured against the reference that the job chooses for its model version.

    Raises ModelRefused, DatabaseFault.
    """
    versions: dict[tuple[str, int], tuple[Manifest, DecisionPolicy]] = {}
    result = []
    for window in found:
        version = window.model_name, window.model_version
        if version not in versions:
            manifest = registry.get_version(database, *version).manifest
            versions[version] = manifest, DecisionPolicy.of(job, manifest)
        manifest, policy = versions[version]
        chosen = choose(
            database,
            job,
            manifest,
            policy,
            shown=f"version {window.model_version} of {window.model_name}",
            first=window.started_at,
            last=window.ended_at,
        )
        why_not = chosen.why_not or None
        if chosen.reference is not None and window.profile is None:
            why_not = f"none of {counted(window.read_count, 'row')} was counted"
        report = None
        if chosen.reference is not None and window.profile is not None:
            report = compare(chosen.reference, policy, window.profile, job.monitoring)
        result.append(Monitored(window=window, report=report, why_not=why_not))
    return result


@dataclass(frozen=True, kw_only=True, slots=True)
class RunProfile:
    """What a run counted, and the reference whose bins it used."""

    run: Run
    profile: Profile
    reference: Reference


def run_profile(database: Database, run_id: int) -> RunProfile:
    """The profile of a run. Raises InputFault where there is none, DatabaseFault."""
    run = records.get_run(database, run_id)
    if run is None:
        raise InputFault(f"there is no run {run_id}; see `batch-scoring runs list`")
    profile = profile_of_run(database, run_id)
    if profile is None or run.model_name is None or run.model_version is None:
        raise InputFault(
            f"run {run_id} of {run.job} has no profile: it read no rows, or its model has no reference;"
            f" `batch-scoring monitor {run.job}` says which"
        )
    manifest = registry.get_version(database, run.model_name, run.model_version).manifest
    policy = DecisionPolicy.from_record(run.decision_policy) if run.decision_policy else None
    reference = manifest.reference if policy is None else reference_for(manifest, policy)
    assert reference is not None  # it counted in the bins of one
    return RunProfile(run=run, profile=profile, reference=reference)


@dataclass(frozen=True, kw_only=True, slots=True)
class DriftSinceFirst:
    """How the rows of a version's reference compare with those of the first version."""

    version: int
    """The number of the first version."""
    report: DriftReport


@dataclass(frozen=True, kw_only=True, slots=True)
class JobReference:
    """What the next run of a job is compared with."""

    version: ModelVersion
    reference: Reference
    since_first: DriftSinceFirst | None
    """None for the first version."""


def job_reference(database: Database, job: Job) -> JobReference:
    """What the next run of a job is compared with.

    Raises InputFault where there is none, ModelRefused, DatabaseFault.
    """
    version = version_of_job(database, job)
    policy = DecisionPolicy.of(job, version.manifest)
    with database.read() as connection:
        time = now(connection)
    shown = f"version {version.version} of {version.name}"
    chosen = choose(database, job, version.manifest, policy, shown=shown, first=time, last=time)
    if chosen.reference is None:
        raise InputFault(chosen.why_not)
    return JobReference(
        version=version, reference=chosen.reference, since_first=_since_first(database, job, version, policy)
    )


def _since_first(database: Database, job: Job, version: ModelVersion, policy: DecisionPolicy) -> DriftSinceFirst | None:
    found = version.manifest.since_first
    if found is None:
        return None
    first = registry.get_version(database, version.name, found.version).manifest.reference
    if first is None:
        return None
    shared = first.of_features(found.profile.features)
    return DriftSinceFirst(version=found.version, report=compare(shared, policy, found.profile, job.monitoring))
