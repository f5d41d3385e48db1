"""``run``, ``runs …`` and ``status``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from batch_scoring.cli.completion import complete_job_name
from batch_scoring.cli.execution import execute
from batch_scoring.cli.job_names import JobName, OptionalJobName, check_job_is_known
from batch_scoring.cli.model_options import AllowMismatch
from batch_scoring.cli.output import (
    Json,
    TableColumn,
    database,
    migrated_database,
    notice,
    required_reason,
    settings,
    show_json,
    show_record,
    show_table,
)
from batch_scoring.cli.times import time_option
from batch_scoring.domain.names import MAX_RUN_ID
from batch_scoring.domain.runs import Status
from batch_scoring.errors import ExitCode, InputFault

if TYPE_CHECKING:
    from batch_scoring.domain.runs import Run

app = typer.Typer(help="The recorded runs: list them, show one.", invoke_without_command=True)


def run(
    job: JobName,
    workers: Annotated[
        int | None,
        typer.Option(help="Number of worker processes; without it, that of the job.", min=1, max=1024),
    ] = None,
    allow_version_mismatch: AllowMismatch = False,
    scheduled_for: Annotated[
        datetime | None,
        time_option(
            help="The slot of the schedule that this run fills, set by the scheduler service. A slot has one run."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Score every due row once. This is the command that cron and the scheduler service start."""
    from batch_scoring.domain.job_files import load_job
    from batch_scoring.scoring.runner import RunOptions

    options = RunOptions(
        trigger="cli" if scheduled_for is None else "schedule",
        scheduled_for=scheduled_for,
        allow_version_mismatch=allow_version_mismatch,
        workers=workers,
    )
    execute(load_job(settings().jobs_dir, job), options, as_json=as_json)


@app.callback()
def runs(context: typer.Context) -> None:
    """List the latest runs (`runs list`), or show one (`runs show`)."""
    if context.invoked_subcommand is None:
        _list_runs()


@app.command(name="list")
def list_(
    job: Annotated[str | None, typer.Option(help="Only runs of this job.", autocompletion=complete_job_name)] = None,
    since: Annotated[datetime | None, time_option(help="Only runs that started at this time or later.")] = None,
    status: Annotated[list[Status] | None, typer.Option(help="Only runs with this status. May be given again.")] = None,
    limit: Annotated[int, typer.Option(help="How many, the newest first.", min=1, max=100_000)] = 20,
    as_json: Json = False,
) -> None:
    """List the latest runs, newest first. Times are UTC."""
    _list_runs(job=job, since=since, status=status or (), limit=limit, as_json=as_json)


def _list_runs(
    *,
    job: str | None = None,
    since: datetime | None = None,
    status: Sequence[Status] = (),
    limit: int = 20,
    as_json: bool = False,
) -> None:
    from batch_scoring.store.runs import records

    source = migrated_database()
    if job is not None:
        check_job_is_known(source, job)
    found = records.list_runs(source, job=job, since=since, statuses=status, limit=limit)
    if as_json:
        show_json(found)
        return
    show_runs(found)


def show_runs(found: Sequence[Run]) -> None:
    """Print runs as a table."""
    columns: list[str | TableColumn] = [
        "run",
        "job",
        TableColumn(name="trigger", optional=True),
        "status",
        TableColumn(name="mode", optional=True),
        "started (UTC)",
        TableColumn(name="seconds", optional=True),
        TableColumn(name="due", optional=True),
        "scored",
        TableColumn(name="superseded", optional=True),
        "quarantined",
        TableColumn(name="model", optional=True),
    ]
    show_table(
        columns,
        [
            [
                run.run_id,
                run.job,
                run.trigger,
                run.status.value,
                run.mode,
                run.started_at,
                run.seconds,
                run.due_count,
                run.scored_count,
                run.superseded_count,
                run.quarantined_count,
                f"{run.model_name} v{run.model_version}" if run.model_name else None,
            ]
            for run in found
        ],
    )


@app.command()
def show(
    run_id: Annotated[int, typer.Argument(help="Number of the run.", min=1, max=MAX_RUN_ID)], as_json: Json = False
) -> None:
    """Show the full record of a run."""
    from dataclasses import fields

    from batch_scoring.store.runs import records

    found = records.get_run(migrated_database(), run_id)
    if found is None:
        raise InputFault(f"there is no run {run_id}; see `batch-scoring runs`")
    if as_json:
        show_json(found)
        return
    show_record([(field.name, _as_text(getattr(found, field.name))) for field in fields(found)])


@app.command()
def verify(
    job: OptionalJobName = None,
    expect: Annotated[
        list[str] | None,
        typer.Option(help="A hash that an earlier verification printed. May be given again.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Verify that ended runs and promotions are as they were recorded: compute their hash chains again.

    Names the first record that was altered, removed or inserted. Note the printed hashes outside the database: with
    --expect, no record before such a hash can have been altered unnoticed, by whoever owns the tables.
    """
    from batch_scoring.store.runs import chain

    source = migrated_database()
    found = chain.verify(source, job)
    unknown = [noted for noted in expect or () if not chain.contains(source, noted)]
    if as_json:
        show_json({"chains": found, "unknown": unknown})
    else:
        show_table(["chain", "verified", "hash"], [[one.chain, one.links, one.hash] for one in found])
    for one in found:
        if one.problem is not None:
            notice(f"{one.chain}: {one.problem}")
    for noted in unknown:
        notice(f"--expect {noted}: no chain contains this hash; what it covered was replaced")
    if unknown or any(one.problem is not None for one in found):
        raise typer.Exit(ExitCode.RUN_FAILED)


@app.command()
def release(
    run_id: Annotated[int, typer.Argument(help="Number of a held run.", min=1, max=MAX_RUN_ID)],
    reason: Annotated[str | None, typer.Option(help="Why such rows may be scored; it is recorded.")] = None,
    lasting: Annotated[
        str, typer.Option("--for", help='How long rows like its own are let through, such as "2 days".')
    ] = "7 days",
    as_json: Json = False,
) -> None:
    """Let rows through that are like those of a held run: the next run scores them.

    A batch that breaches a limit in another way is held again.
    """
    from batch_scoring.domain.durations import parse_duration

    try:
        released_for = parse_duration(lasting)
    except ValueError as exc:
        raise InputFault(f"--for {lasting}: {exc}") from exc
    _decide(run_id, released_for, required_reason(reason), as_json=as_json)


@app.command()
def reject(
    run_id: Annotated[int, typer.Argument(help="Number of a held run.", min=1, max=MAX_RUN_ID)],
    reason: Annotated[str | None, typer.Option(help="Why such rows must not be scored; it is recorded.")] = None,
    as_json: Json = False,
) -> None:
    """Record that the rows of a held run must not be scored: runs are held until the source is fixed."""
    _decide(run_id, None, required_reason(reason), as_json=as_json)


def _decide(run_id: int, released_for: timedelta | None, reason: str, *, as_json: bool) -> None:
    from batch_scoring.login import login
    from batch_scoring.store.runs import held, records

    source = migrated_database()
    decision = held.decide(source, run_id, released_for=released_for, reason=reason, decided_by=login())
    if as_json:
        show_json(decision)
        return
    run = records.get_run(source, run_id)
    assert run is not None
    if decision.expires_at is None:
        typer.echo(f"run {run_id} of {run.job} is rejected: such rows stay due and are held until they change")
        return
    typer.echo(
        f"run {run_id} of {run.job} is released: rows like its own are scored until"
        f" {decision.expires_at:%Y-%m-%d %H:%M:%S} UTC. Next: batch-scoring run {run.job}"
    )


def _as_text(value: Any) -> Any:
    """Nested values as JSON, so that they can be copied."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value


def status(
    job: OptionalJobName = None,
    max_age: Annotated[
        str | None,
        typer.Option("--max-age", help='Maximum age of the last success, such as "2h" or "1 day".'),
    ] = None,
    as_json: Json = False,
) -> None:
    """Report whether jobs are healthy: exit code 0, or 5 with the reason."""
    from batch_scoring.domain.durations import parse_duration
    from batch_scoring.domain.job_files import load_job, load_jobs
    from batch_scoring.monitoring.health import status_of

    chosen = settings()
    jobs = [load_job(chosen.jobs_dir, job)] if job else load_jobs(chosen.jobs_dir)
    try:
        limit = parse_duration(max_age) if max_age else None
    except ValueError as exc:
        raise InputFault(f"--max-age {max_age}: {exc}") from exc
    states = [status_of(database(), declared, chosen.artifacts_dir, max_age=limit) for declared in jobs]
    if as_json:
        show_json(states)
    else:
        policies: dict[str, list[int | None]] = {
            "due by age": [state.due_by_refresh for state in states],
            "due by version": [state.due_by_new_version for state in states],
            "deleted": [state.deleted_count for state in states],
        }
        policies = {name: counts for name, counts in policies.items() if any(counts)}
        columns: list[str | TableColumn] = [
            "job",
            "health",
            "last success (UTC)",
            TableColumn(name="age", optional=True),
            "due",
            *(TableColumn(name=name, optional=True) for name in policies),
            TableColumn(name="current", optional=True),
            TableColumn(name="by version", optional=True),
            "quarantined",
        ]
        show_table(
            columns,
            [
                [
                    state.job,
                    "unhealthy" if state.unhealthy else "ok",
                    state.last_success.finished_at if state.last_success else None,
                    state.last_success_age,
                    state.due_count,
                    *(counts[position] for counts in policies.values()),
                    state.current_count,
                    ", ".join(f"v{one.model_version}: {one.rows:,}" for one in state.versions) or None,
                    state.quarantined_count,
                ]
                for position, state in enumerate(states)
            ],
        )
    unhealthy = [state for state in states if state.unhealthy]
    for state in unhealthy:
        notice(f"{state.job}: {state.unhealthy}")
    if unhealthy:
        raise typer.Exit(ExitCode.UNHEALTHY)
