"""``purge`` and ``hold …``: deleting old rows, and protecting rows from it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from batch_scoring.cli.job_names import JobName, OptionalJobName, check_job_is_known
from batch_scoring.cli.keys import parse_key
from batch_scoring.cli.observers import event_log, operation_observers
from batch_scoring.cli.output import (
    Json,
    TableColumn,
    ask,
    database,
    migrated_database,
    required_reason,
    settings,
    show_json,
    show_table,
)
from batch_scoring.cli.times import time_option
from batch_scoring.counting import counted
from batch_scoring.domain.names import MAX_RUN_ID
from batch_scoring.errors import InputFault

if TYPE_CHECKING:
    from batch_scoring.store.outcomes.retention import Purged

app = typer.Typer(help="Legal holds: protect rows from `purge`.", no_args_is_help=True)


def purge(
    job: JobName,
    superseded_before: Annotated[
        datetime | None,
        time_option(help="Predictions superseded, and quarantine entries closed, before this time."),
    ] = None,
    inputs_before: Annotated[
        datetime | None,
        time_option(help="Inputs of predictions that started before this time."),
    ] = None,
    reason: Annotated[str | None, typer.Option(help="The reason, recorded with the run. Required.")] = None,
    requested_by: Annotated[str | None, typer.Option(help="Who requests it; without it the login.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count the rows and delete nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    as_json: Json = False,
) -> None:
    """Permanently delete superseded predictions, closed quarantine entries and stored inputs.

    Current predictions, open entries and rows on legal hold are kept.
    """
    from batch_scoring.domain.job_files import load_job
    from batch_scoring.operations import retention
    from batch_scoring.store.outcomes.retention import Cutoffs

    declared = load_job(settings().jobs_dir, job)
    if superseded_before is None and inputs_before is None:
        raise InputFault("expected --superseded-before, --inputs-before, or both")
    cutoffs = Cutoffs(
        superseded_before=superseded_before,
        inputs_before=inputs_before,
    )
    found = retention.preview_purge(database(), declared, cutoffs)
    if dry_run:
        if as_json:
            show_json(found)
        else:
            typer.echo(f"dry run: {_counts(found)} would be deleted; nothing was")
        return
    reason = required_reason(reason)
    if not yes:
        ask(f"permanently delete {_counts(found)}")
    run = retention.purge(
        database(),
        declared,
        cutoffs,
        reason=reason,
        requested_by=requested_by,
        observers=operation_observers(declared),
    )
    if as_json:
        show_json(run)
    else:
        typer.echo(f"run {run.run_id} of {job}: {counted(run.purged_count, 'row')} deleted")


def _counts(found: Purged) -> str:
    entries = counted(found.quarantine_entries, "closed quarantine entry", "closed quarantine entries")
    challenged = f", {counted(found.challengers, 'score')} of challengers" if found.challengers else ""
    text = (
        f"{counted(found.predictions, 'superseded prediction')}{challenged}, {entries} and"
        f" {counted(found.inputs, 'stored input')}"
    )
    held = "1 more row is" if found.held == 1 else f"{found.held:,} more rows are"
    return f"{text} ({held} on legal hold and stay{'s' if found.held == 1 else ''})" if found.held else text


@app.command()
def add(
    job: JobName,
    reason: Annotated[str, typer.Option(help="The reason, recorded with the hold.")],
    key: Annotated[str | None, typer.Option(help="The key to hold: its value, or a=1,b=x.")] = None,
    run: Annotated[int | None, typer.Option(help="Hold all rows that this run wrote.", min=1, max=MAX_RUN_ID)] = None,
    requested_by: Annotated[str | None, typer.Option(help="Who requests it; without it the login.")] = None,
    as_json: Json = False,
) -> None:
    """Protect a key, or all rows that a run wrote, from `purge`."""
    from batch_scoring.domain.job_files import load_job
    from batch_scoring.login import login
    from batch_scoring.operations import retention

    declared = load_job(settings().jobs_dir, job)
    if (key is None) == (run is None):
        raise InputFault("expected either --key or --run")
    required_reason(reason)
    hold_id = retention.hold(
        migrated_database(),
        declared,
        key=None if key is None else parse_key(key, declared.source.key),
        run_id=run,
        reason=reason,
        created_by=requested_by or login(),
        observers=event_log(),
    )
    if as_json:
        show_json({"hold_id": hold_id, "job": job})
    else:
        typer.echo(f"hold {hold_id}: `purge` deletes nothing of {f'key {key}' if key else f'run {run}'} of {job}")


@app.command()
def remove(
    hold_id: Annotated[int, typer.Argument(help="Number of the hold.", min=1, max=MAX_RUN_ID)],
    requested_by: Annotated[str | None, typer.Option(help="Who requests it; without it the login.")] = None,
) -> None:
    """End a hold. Its record is kept."""
    from batch_scoring.login import login
    from batch_scoring.operations import retention

    retention.release(migrated_database(), hold_id, removed_by=requested_by or login(), observers=event_log())
    typer.echo(f"hold {hold_id} removed")


@app.command(name="list")
def list_(
    job: OptionalJobName = None,
    removed: Annotated[bool, typer.Option("--removed", help="Include removed holds.")] = False,
    as_json: Json = False,
) -> None:
    """List holds. Times are UTC."""
    from batch_scoring.store.outcomes import retention

    source = migrated_database()
    if job is not None:
        check_job_is_known(source, job)
    found = retention.list_holds(source, job=job, with_removed=removed)
    if as_json:
        show_json(found)
        return
    show_table(
        [
            "hold",
            "job",
            "holds",
            TableColumn(name="reason", is_text=True),
            "since (UTC)",
            TableColumn(name="by", optional=True),
            TableColumn(name="removed (UTC)", optional=not removed),
            TableColumn(name="removed by", optional=True),
        ],
        [
            [
                one.hold_id,
                one.job,
                f"run {one.run_id}" if one.source_key is None else _key(one.source_key),
                one.reason,
                one.created_at,
                one.created_by,
                one.removed_at,
                one.removed_by,
            ]
            for one in found
        ],
    )


def _key(columns: dict[str, str]) -> str:
    return ",".join(f"{name}={value}" for name, value in columns.items())
