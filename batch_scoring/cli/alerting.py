"""``monitor alerts``, ``acknowledge``, ``mute``, ``unmute`` and ``limits``."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

import typer

from batch_scoring.cli.job_names import JobName
from batch_scoring.cli.output import (
    Json,
    TableColumn,
    migrated_database,
    notice,
    required_reason,
    settings,
    show_json,
    show_record,
    show_table,
)
from batch_scoring.cli.times import time_option
from batch_scoring.counting import counted
from batch_scoring.errors import InputFault

if TYPE_CHECKING:
    from batch_scoring.domain.job import Job
    from batch_scoring.domain.manifest import Manifest
    from batch_scoring.store.drift.alerts import Alert

Name = Annotated[
    str | None, typer.Option(help="Only of this feature, or of score, prediction or rows.", show_default=False)
]
MeasureName = Annotated[
    str | None,
    typer.Option(
        help="Only of this measure: distribution, missing, unseen, out_of_range, invalid or row_count.",
        show_default=False,
    ),
]
Until = Annotated[datetime | None, time_option(help="When notices are sent again. Required.")]
Reason = Annotated[str | None, typer.Option(help="Why; it is recorded.")]


def alerts(
    job: JobName,
    everything: Annotated[bool, typer.Option("--all", help="List alerts that were cleared, too.")] = False,
    as_json: Json = False,
) -> None:
    """List the alerts of drift that are open, and until when they are acknowledged or muted."""
    from batch_scoring.domain.job_files import load_job
    from batch_scoring.store.drift.alerts import list_alerts, mutes_in_force

    load_job(settings().jobs_dir, job)
    database = migrated_database()
    found = list_alerts(database, job, with_cleared=everything)
    mutes = mutes_in_force(database, job)
    if as_json:
        show_json({"job": job, "alerts": found, "mutes": mutes})
        return
    if not found:
        notice(f"no alert of {job} {'was ever raised' if everything else 'is open'}")
    else:
        columns: list[str | TableColumn] = [
            TableColumn(name="alert", is_number=True),
            TableColumn(name="what", is_text=True),
            "since (UTC)",
            TableColumn(name="run", is_number=True, optional=True),
            *(["cleared (UTC)"] if everything else []),
            "muted until (UTC)",
        ]
        show_table(
            columns,
            [
                [
                    one.alert_id,
                    one.message,
                    one.raised_at,
                    one.raised_run_id,
                    *([one.cleared_at] if everything else []),
                    one.muted_until,
                ]
                for one in found
            ],
        )
    if mutes:
        show_table(
            [
                TableColumn(name="mute", is_number=True),
                "of",
                "until (UTC)",
                TableColumn(name="by", optional=True),
                TableColumn(name="reason", is_text=True),
            ],
            [
                [one.mute_id, _covered(one.name, one.measure, one.alert_id), one.ends_at, one.created_by, one.reason]
                for one in mutes
            ],
            title="muted",
        )


def _covered(name: str | None, measure: str | None, alert_id: int | None) -> str:
    if alert_id is not None:
        return f"alert {alert_id}"
    return " ".join(part.replace("_", " ") for part in (name, measure) if part) or "everything"


def acknowledge(
    job: JobName,
    until: Until = None,
    reason: Reason = None,
    name: Name = None,
    measure: MeasureName = None,
    as_json: Json = False,
) -> None:
    """Record that open alerts are known: no reminders until a time, and the job is healthy until then.

    An alert that is raised later is not covered; see `monitor mute`.
    """
    from batch_scoring.domain.job_files import load_job
    from batch_scoring.login import login
    from batch_scoring.store.drift import alerts as store

    ends, why = _until(until), required_reason(reason)
    load_job(settings().jobs_dir, job)
    database = migrated_database()
    found = [one for one in store.list_alerts(database, job) if _is_chosen(one, name, measure)]
    if not found:
        raise InputFault(f"no such alert of {job} is open; see `batch-scoring monitor alerts {job}`")
    store.acknowledge(database, job, found, until=ends, reason=why, by=login())
    if as_json:
        show_json({"job": job, "acknowledged": [one.alert_id for one in found], "until": ends})
        return
    for one in found:
        typer.echo(f"alert {one.alert_id} is acknowledged until {ends:%Y-%m-%d %H:%M:%S} UTC: {one.message}")


def _is_chosen(alert: Alert, name: str | None, measure: str | None) -> bool:
    return name in (None, alert.name) and measure in (None, alert.measure)


def mute(
    job: JobName,
    until: Until = None,
    reason: Reason = None,
    name: Name = None,
    measure: MeasureName = None,
    as_json: Json = False,
) -> None:
    """Send no notices of drift until a time, of everything or of one feature or measure, also of later alerts.

    Figures and alerts are recorded all the same, and a breach that holds a run still holds it.
    """
    from batch_scoring.domain.job_files import load_job
    from batch_scoring.login import login
    from batch_scoring.store.drift import alerts as store
    from batch_scoring.store.job_models import version_of_job

    ends, why = _until(until), required_reason(reason)
    declared = load_job(settings().jobs_dir, job)
    database = migrated_database()
    _check_measure(measure)
    if name is not None:
        _check_name(declared, name, version_of_job(database, declared).manifest)
    mute_id = store.mute(database, job, name=name, measure=measure, until=ends, reason=why, by=login())
    if as_json:
        show_json({"job": job, "mute_id": mute_id, "until": ends})
        return
    typer.echo(
        f"mute {mute_id}: no notices of {_covered(name, measure, None)} of {job} until {ends:%Y-%m-%d %H:%M:%S} UTC;"
        f" `batch-scoring monitor unmute {mute_id}` ends it"
    )


def unmute(
    mute_id: Annotated[int, typer.Argument(metavar="mute", help="Number of a mute.", min=1, max=2**63 - 1)],
    as_json: Json = False,
) -> None:
    """End a mute or an acknowledgement early. Its record remains."""
    from batch_scoring.login import login
    from batch_scoring.store.drift import alerts as store

    if not store.unmute(migrated_database(), mute_id, by=login()):
        raise InputFault(f"mute {mute_id} is not in force; `batch-scoring monitor alerts JOB` lists those that are")
    if as_json:
        show_json({"mute_id": mute_id, "is_in_force": False})
        return
    typer.echo(f"mute {mute_id} has ended")


def _until(until: datetime | None) -> datetime:
    if until is None:
        raise InputFault("--until is missing: a mute has an end; name a time, such as 2026-12-31")
    return until


def _check_measure(measure: str | None) -> None:
    from typing import get_args

    from batch_scoring.domain.limits import Measure

    if measure is not None and measure not in get_args(Measure):
        raise InputFault(f"--measure {measure}: expected one of {', '.join(get_args(Measure))}")


def _check_name(job: Job, name: str, manifest: Manifest) -> None:
    known = [*manifest.signature.names, "score", "prediction", "rows"]
    if name not in known:
        raise InputFault(f"--name {name}: expected one of {', '.join(known)}, as the model of {job.name} has them")


def limits(
    job: JobName,
    history: Annotated[
        bool, typer.Option("--history", help="List what changed, from which run on and by whom.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show the limits of a job, or how they changed: the register of limits."""
    from batch_scoring.domain.job_files import load_job
    from batch_scoring.store.drift.limits import recorded_limits

    declared = load_job(settings().jobs_dir, job).monitoring.model_dump(mode="json")
    if not history:
        if as_json:
            show_json({"job": job, "limits": declared})
            return
        show_record(list(_flat(declared).items()))
        return
    found = recorded_limits(migrated_database(), job)
    if as_json:
        show_json({"job": job, "history": found})
        return
    if not found:
        notice(f"no run of {job} has recorded limits yet")
        return
    flat = [_flat(one.limits) for one in found]
    changes = ["first recorded", *(_changes(before, now) for before, now in pairwise(flat))]
    lines = [[one.valid_from, one.run_id, one.recorded_by, change] for one, change in zip(found, changes, strict=True)]
    show_table(
        ["from (UTC)", TableColumn(name="run", is_number=True), "by", TableColumn(name="what", is_text=True)], lines
    )
    notice(f"{counted(len(found), 'record')}; {found[-1].rationale or 'no rationale is given'}")


def _changes(before: dict[str, Any], now: dict[str, Any]) -> str:
    changed = [key for key in dict.fromkeys((*before, *now)) if before.get(key) != now.get(key)]
    return ", ".join(f"{key}: {before.get(key, 'none')} → {now.get(key, 'none')}" for key in changed)


def _flat(limits: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested limits by dotted name, without those that are not set."""
    found: dict[str, Any] = {}
    for key, value in limits.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{key}.")
        elif key == "window":
            found["window"] = str(timedelta(seconds=value)).removesuffix(", 0:00:00")
        elif value is not None:
            found[f"{prefix}{key}"] = value
    return found
