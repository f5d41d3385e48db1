"""What ``monitor`` answers: the drift of each window of a job, and the reference it is measured against."""

from __future__ import annotations

from dataclasses import dataclass

from batch_scoring.counting import counted
from batch_scoring.domain.decision import DecisionPolicy
from batch_scoring.domain.job import Job
from batch_scoring.domain.model_version import ModelVersion
from batch_scoring.domain.profile import Profile, Reference
from batch_scoring.domain.runs import Run
from batch_scoring.errors import InputFault
from batch_scoring.model.drift import DriftReport, compare
from batch_scoring.model.profiling import reference_for
from batch_scoring.monitoring.windows import Window, windows
from batch_scoring.store import registry
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


def drift_of(database: Database, job: Job) -> list[Monitored]:
    """The drift of each window of a job, the oldest first, each measured against the reference of its model version.

    Raises ModelRefused, DatabaseFault.
    """
    references: dict[tuple[str, int], tuple[Reference | None, DecisionPolicy]] = {}
    found = []
    for window in windows(database, job):
        version = window.model_name, window.model_version
        if version not in references:
            manifest = registry.get_version(database, *version).manifest
            policy = DecisionPolicy.of(job, manifest)
            references[version] = reference_for(manifest, policy), policy
        reference, policy = references[version]
        why_not = _why_not(window, reference)
        report = None
        if why_not is None:
            assert reference is not None
            assert window.profile is not None
            report = compare(reference, policy, window.profile, job.monitoring)
        found.append(Monitored(window=window, report=report, why_not=why_not))
    return found


def _without_reference(name: str, version: int) -> str:
    return (
        f"version {version} of {name} has no reference: it was registered before there were any; train or register the"
        " model again"
    )


def _why_not(window: Window, reference: Reference | None) -> str | None:
    if reference is None:
        return _without_reference(window.model_name, window.model_version)
    if window.profile is None:
        return f"none of {counted(window.read_count, 'row')} was counted: the database engine counts none"
    return None


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
            f"run {run_id} of {run.job} has no profile: it read no rows, its model has no reference, or the database"
            f" engine scored them; `batch-scoring monitor {run.job}` says which"
        )
    manifest = registry.get_version(database, run.model_name, run.model_version).manifest
    policy = DecisionPolicy.from_record(run.decision_policy) if run.decision_policy else None
    reference = manifest.reference if policy is None else reference_for(manifest, policy)
    assert reference is not None  # it counted in the bins of one
    return RunProfile(run=run, profile=profile, reference=reference)


@dataclass(frozen=True, kw_only=True, slots=True)
class JobReference:
    """The reference of the model version that scores a job."""

    version: ModelVersion
    reference: Reference


def job_reference(database: Database, job: Job) -> JobReference:
    """What the next run of a job is compared with.

    Raises InputFault where there is none, ModelRefused, DatabaseFault.
    """
    version = version_of_job(database, job)
    reference = reference_for(version.manifest, DecisionPolicy.of(job, version.manifest))
    if reference is None:
        raise InputFault(_without_reference(version.name, version.version))
    return JobReference(version=version, reference=reference)
