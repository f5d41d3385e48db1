"""What the rows of a job are compared with: the reference of its model, or earlier runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING

from batch_scoring.domain.decision import DecisionPolicy
from batch_scoring.domain.job import Job
from batch_scoring.domain.profile import total
from batch_scoring.store import registry
from batch_scoring.store.engine.database import Database
from batch_scoring.store.runs.profiles import ProfiledRun, profiled_runs

if TYPE_CHECKING:
    from batch_scoring.domain.manifest import Manifest
    from batch_scoring.domain.profile import Reference

_YEAR = timedelta(weeks=52)
"""Back to the same day of the week."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChosenReference:
    """A reference, or why there is none."""

    reference: Reference | None
    why_not: str = ""


def choose(
    database: Database,
    job: Job,
    manifest: Manifest,
    policy: DecisionPolicy,
    *,
    shown: str,
    first: datetime,
    last: datetime,
) -> ChosenReference:
    """The reference of rows that runs of a model version read between two times.

    ``shown`` is how messages name the version. Runs of other versions are part of it if they counted in the same bins.
    Raises ModelRefused, DatabaseFault.
    """
    from batch_scoring.model.profiling import reference_for

    own = reference_for(manifest, policy)
    if own is None:
        why_not = f"{shown} has no reference: it was registered before there were any; train or register it again"
        return ChosenReference(reference=None, why_not=why_not)
    settings = job.monitoring
    if settings.reference == "model":
        return ChosenReference(reference=own)
    if settings.reference == "last_year":
        since, before = first - _YEAR - settings.window / 2, last - _YEAR + settings.window / 2
    else:
        assert settings.reference_from is not None
        assert settings.reference_to is not None
        since = datetime.combine(settings.reference_from, time(), UTC)
        before = datetime.combine(settings.reference_to, time(), UTC) + timedelta(days=1)
    runs = profiled_runs(database, job.name, since=since, before=before)
    fitting = _Fitting(database=database, job=job, own=own, known={})
    found = total(run.profile.once for run in runs if run.profile is not None and fitting.is_met_by(run))
    if found is None:
        period = f"from {since:%Y-%m-%d} to {before - timedelta(seconds=1):%Y-%m-%d}"
        return ChosenReference(reference=None, why_not=f"no run {period} counted in the bins of {shown}")
    return ChosenReference(reference=own.of_profile(found))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Fitting:
    """Whether runs counted in the bins of a reference."""

    database: Database
    job: Job
    own: Reference
    known: dict[tuple[str, int], bool]
    """By model and version."""

    def is_met_by(self, run: ProfiledRun) -> bool:
        version = run.model_name, run.model_version
        if version not in self.known:
            self.known[version] = self._has_same_bins(*version)
        return self.known[version]

    def _has_same_bins(self, name: str, version: int) -> bool:
        from batch_scoring.model.profiling import reference_for

        manifest = registry.get_version(self.database, name, version).manifest
        if manifest.kind != self.job.predictions.kind:
            return False
        reference = reference_for(manifest, DecisionPolicy.of(self.job, manifest))
        return reference is not None and reference.has_same_bins(self.own)
