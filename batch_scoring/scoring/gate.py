"""The gate before a run's first write: due rows that breach a limit of the job hold the run."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from batch_scoring.counting import counted
from batch_scoring.errors import RunHeld
from batch_scoring.scoring import preparation
from batch_scoring.scoring.events import GateNotChecked, HeldRowsReleased, Observer
from batch_scoring.scoring.plan import RunPlan
from batch_scoring.scoring.transient import retry_transient
from batch_scoring.store.bulk.choice import bulk_for
from batch_scoring.store.engine.database import Database
from batch_scoring.store.runs import held, records
from batch_scoring.store.runs.history import crashes_in_a_row
from batch_scoring.store.runs.profiles import record_profile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batch_scoring.domain.columns import Column
    from batch_scoring.domain.profile import Profile, Reference
    from batch_scoring.model.drift import Drift
    from batch_scoring.model.scorer import ScoredRows

_NAMED = 5
"""Breaches that a message names."""


def check(plan: RunPlan, database: Database, due_count: int, report: Observer) -> None:
    """Score a random sample of the due rows and compare it with the reference of the model.

    Does nothing where the job holds for nothing. A breach is let through if the sample is like that of a run that a
    person released. Raises RunHeld, after the profile of the sample was recorded with the run; ModelRefused, Fenced,
    DatabaseFault.
    """
    settings = plan.job.monitoring
    if not settings.hold:
        return
    from batch_scoring.model.profiling import reference_for

    reference = reference_for(plan.model.manifest, plan.model.policy)
    if reference is None:
        reason = f"version {plan.model.version} of {plan.model.name} has no reference"
        report(GateNotChecked(run_id=plan.run_id, job=plan.job.name, reason=reason))
        return
    found = _profile(plan, database, reference)
    if found is None:
        reason = "the model crashed on a sample of the due rows"
        report(GateNotChecked(run_id=plan.run_id, job=plan.job.name, reason=reason))
        return
    breaches = _breaches(plan, reference, found)
    if not breaches:
        return
    find = partial(held.releases, database, plan.job.name, model_name=plan.model.name, model_version=plan.model.version)
    for release in retry_transient(find):
        if not _breaches(plan, reference.of_profile(release.profile), found):
            report(HeldRowsReleased(run_id=plan.run_id, job=plan.job.name, released_run_id=release.run_id))
            return
    retry_transient(partial(_record, database, plan.run_id, found))
    raise RunHeld(_message(plan, breaches, found, due_count))


def _profile(plan: RunPlan, database: Database, reference: Reference) -> Profile | None:
    """The profile of a sample of the due rows; None if the model crashes on it."""
    from batch_scoring.model.profiling import profile

    bulk = bulk_for(database, plan.job.run.bulk)
    signature = plan.model.manifest.signature

    def sample() -> dict[str, Column]:
        with database.read() as connection:
            return plan.queries[0].sample(connection, bulk, signature.names, plan.job.monitoring.sample)

    columns = retry_transient(sample)
    scored = _scored(plan, database, columns)
    return None if scored is None else profile(reference, signature, columns, scored)


def _scored(plan: RunPlan, database: Database, columns: Mapping[str, Column]) -> ScoredRows | None:
    """The scored sample; after a crashed run by a process of its own, and None if that crashes."""
    if not retry_transient(lambda: crashes_in_a_row(database, plan.job.name, before=plan.run_id)):
        scorer, _ = preparation.load_scorer(plan.model)
        return scorer.score_singly(columns)
    from batch_scoring.scoring.model_process import ModelProcess, ProcessEnded

    process = ModelProcess(plan.model)
    try:
        process.load()
        return process.score(columns)
    except ProcessEnded:
        return None
    finally:
        process.end()


def _breaches(plan: RunPlan, reference: Reference, found: Profile) -> list[Drift]:
    from batch_scoring.model.drift import compare

    settings = plan.job.monitoring
    alerts = compare(reference, plan.model.policy, found, settings).alerts
    return [one for one in alerts if one.measure in settings.hold]


def _record(database: Database, run_id: int, found: Profile) -> None:
    with database.write() as connection:
        records.fence(connection, run_id)
        record_profile(connection, run_id, found)


def _message(plan: RunPlan, breaches: list[Drift], found: Profile, due_count: int) -> str:
    named = "; ".join(one.sentence for one in breaches[:_NAMED])
    more = f"; and {len(breaches) - _NAMED} more" if len(breaches) > _NAMED else ""
    return (
        f"held before its first write, by {found.rows:,} of {counted(due_count, 'due row')}: {named}{more}."
        f" Fix the source; `batch-scoring monitor profile {plan.run_id}` shows what was counted, and"
        f" `batch-scoring runs release {plan.run_id} --reason TEXT` lets such rows through"
    )
