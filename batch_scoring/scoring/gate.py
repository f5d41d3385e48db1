"""The gate before a run's first write: due rows that breach a limit of the job hold the run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from batch_scoring.counting import counted
from batch_scoring.domain.drift import row_count
from batch_scoring.errors import RunHeld
from batch_scoring.scoring import preparation
from batch_scoring.scoring.events import GateNotChecked, HeldRowsReleased, Observer
from batch_scoring.scoring.plan import RunPlan
from batch_scoring.scoring.reference import choose
from batch_scoring.scoring.transient import retry_transient
from batch_scoring.store.bulk.choice import bulk_for
from batch_scoring.store.drift.reports import Report, record
from batch_scoring.store.engine.clock import now
from batch_scoring.store.engine.database import Database
from batch_scoring.store.runs import held, records
from batch_scoring.store.runs.history import crashes_in_a_row, usual_due_count
from batch_scoring.store.runs.profiles import record_profile

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from batch_scoring.domain.columns import Column
    from batch_scoring.domain.drift import Drift, DriftReport
    from batch_scoring.domain.profile import Profile, Reference
    from batch_scoring.model.scorer import ScoredRows
    from batch_scoring.store.source.rows import DueCount

_NAMED = 5
"""Breaches that a message names."""


def check(plan: RunPlan, database: Database, due: DueCount, report: Observer) -> None:
    """Compare the number of due rows with the usual one, and a random sample of them with the reference.

    Does nothing where no limit of the job holds. A breach is let through if the rows are like those of a run that a
    person released. Raises RunHeld, after what was found was recorded with the run; ModelRefused, Fenced,
    DatabaseFault.
    """
    settings = plan.job.monitoring
    if not settings.holds:
        return
    changed = due.total - due.by_age - due.by_version
    usual = retry_transient(lambda: usual_due_count(database, plan.job.name, before=plan.run_id))
    time = retry_transient(lambda: _now(database))
    found = _compared(plan, database, time)
    if isinstance(found, str):
        report(GateNotChecked(run_id=plan.run_id, job=plan.job.name, reason=found))
    compared = None if isinstance(found, str) else found
    rows = row_count(changed, usual, settings)
    breaches = [*([] if compared is None else compared.breaches), *([rows] if _holds(rows) else [])]
    if not breaches:
        return
    if (released := _released(plan, database, compared, rows)) is not None:
        report(HeldRowsReleased(run_id=plan.run_id, job=plan.job.name, released_run_id=released))
        return
    retry_transient(partial(_record, database, plan, compared, rows, time))
    raise RunHeld(_message(plan, breaches, compared, due.total))


def _now(database: Database) -> datetime:
    with database.read() as connection:
        return now(connection)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Compared:
    """The sample of the due rows, and how it compares with the reference."""

    reference: Reference
    profile: Profile
    report: DriftReport

    @property
    def breaches(self) -> list[Drift]:
        return [one for one in self.report.metrics if _holds(one)]


def _holds(metric: Drift) -> bool:
    return metric.is_breach and metric.action == "hold"


def _compared(plan: RunPlan, database: Database, time: datetime) -> _Compared | str:
    """The comparison of a sample of the due rows, or why there is none."""
    from batch_scoring.model.drift import compare

    model = plan.model
    shown = f"version {model.version} of {model.name}"
    chosen = retry_transient(
        lambda: choose(database, plan.job, model.manifest, model.policy, shown=shown, first=time, last=time)
    )
    if chosen.reference is None:
        return chosen.why_not
    found = _profile(plan, database, _bins(plan))
    if found is None:
        return "the model crashed on a sample of the due rows"
    report = compare(chosen.reference, model.policy, found, plan.job.monitoring)
    return _Compared(reference=chosen.reference, profile=found, report=report)


def _bins(plan: RunPlan) -> Reference:
    """The reference in whose bins a run counts."""
    from batch_scoring.model.profiling import reference_for

    found = reference_for(plan.model.manifest, plan.model.policy)
    assert found is not None
    return found


def _released(plan: RunPlan, database: Database, compared: _Compared | None, rows: Drift) -> int | None:
    """The run that a person released and whose rows are like the due ones; None if there is none."""
    from batch_scoring.model.drift import compare

    model, settings = plan.model, plan.job.monitoring
    find = partial(held.releases, database, plan.job.name, model_name=model.name, model_version=model.version)
    for release in retry_transient(find):
        if _holds(rows) and not _is_alike(rows.value or 0.0, release.due_count, settings.row_count):
            continue
        if compared is not None and compared.breaches:
            if release.profile is None:
                continue
            like = compare(compared.reference.of_profile(release.profile), model.policy, compared.profile, settings)
            if any(_holds(one) for one in like.metrics):
                continue
        return release.run_id
    return None


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


def _is_alike(rows: float, others: float, limit: float) -> bool:
    """Whether a number of rows is within a factor of another one."""
    fewer, more = sorted((rows, others))
    return more < limit * max(fewer, 1.0)


def _record(database: Database, plan: RunPlan, compared: _Compared | None, rows: Drift, time: datetime) -> None:
    report = Report(
        run_id=plan.run_id,
        scope="gate",
        job=plan.job.name,
        first_run_id=plan.run_id,
        window_from=time,
        window_to=time,
        is_complete=True,
        row_count=0 if compared is None else compared.profile.rows,
        again_count=0,
        model_name=plan.model.name,
        model_version=plan.model.version,
        reference=None if compared is None else compared.report.reference_origin,
        reference_rows=None if compared is None else compared.report.reference_rows,
        why_not=None,
    )
    metrics = [*(() if compared is None else compared.report.metrics), rows]
    with database.write() as connection:
        records.fence(connection, plan.run_id)
        if compared is not None:
            record_profile(connection, plan.run_id, compared.profile)
        record(connection, report, metrics)


def _message(plan: RunPlan, breaches: list[Drift], compared: _Compared | None, due_count: int) -> str:
    named = "; ".join(one.sentence for one in breaches[:_NAMED])
    more = f"; and {len(breaches) - _NAMED} more" if len(breaches) > _NAMED else ""
    of = counted(due_count, "due row")
    sample = of if compared is None else f"{compared.profile.rows:,} of {of}"
    return (
        f"held before its first write, by {sample}: {named}{more}."
        f" Fix the source; `batch-scoring monitor profile {plan.run_id}` shows what was counted, and"
        f" `batch-scoring runs release {plan.run_id} --reason TEXT` lets such rows through"
    )
