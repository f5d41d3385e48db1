"""``run``, ``runs …`` and ``status``."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import datetime
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from batch_scoring.cli.completion import complete_job_name
from batch_scoring.cli.models import AllowMismatch
from batch_scoring.cli.output import (
    Json,
    TableColumn,
    console,
    database,
    migrated_database,
    notice,
    settings,
    show_error_json,
    show_json,
    show_record,
    show_table,
)
from batch_scoring.cli.times import time_option
from batch_scoring.counting import counted, were
from batch_scoring.domain.runs import Status
from batch_scoring.errors import BatchScoringError, ConfigurationError, ExitCode, InputFault

if TYPE_CHECKING:
    from batch_scoring.domain.job import Job
    from batch_scoring.domain.runs import Run
    from batch_scoring.scoring.events import Event, Observer
    from batch_scoring.scoring.runner import RunOptions
    from batch_scoring.sinks.notifications import Delivery
    from batch_scoring.sinks.notifier import Notifier
    from batch_scoring.store.engine.database import Database

app = typer.Typer(help="The recorded runs: list them, show one.", invoke_without_command=True)

JobName = Annotated[
    str,
    typer.Argument(
        help="Name of the job: its file in the jobs folder, without .toml.", autocompletion=complete_job_name
    ),
]
OptionalJobName = Annotated[
    str | None,
    typer.Argument(help="Name of a job; without it, every job.", autocompletion=complete_job_name),
]


def run(
    job: JobName,
    workers: Annotated[
        int | None,
        typer.Option(help="Processes that score at the same time; without it what the job says.", min=1, max=1024),
    ] = None,
    allow_version_mismatch: AllowMismatch = False,
    scheduled_for: Annotated[
        datetime | None,
        time_option(help="The slot of the schedule that this run fills: one run each. The scheduler service gives it."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Score every row that is due, once. This is what cron and the scheduler service call."""
    from batch_scoring.domain.job_files import load_job
    from batch_scoring.scoring.runner import RunOptions

    options = RunOptions(
        trigger="cli" if scheduled_for is None else "schedule",
        scheduled_for=scheduled_for,
        allow_version_mismatch=allow_version_mismatch,
        workers=workers,
    )
    carry_out(load_job(settings().jobs_dir, job), options, as_json=as_json)


def carry_out(job: Job, options: RunOptions, *, as_json: bool) -> NoReturn:
    """Run a job and leave with what came of it."""
    from batch_scoring.scoring import runner
    from batch_scoring.scoring.events import RunPlanned
    from batch_scoring.sinks.metrics_file import MetricsFile
    from batch_scoring.sinks.notifier import Notifier
    from batch_scoring.store.source.table import SCORED_ONCE

    def explain(event: Event) -> None:
        if isinstance(event, RunPlanned) and event.is_first_of_unversioned:
            notice(f"note: {SCORED_ONCE}")

    chosen = settings()
    notifier = Notifier(job, chosen, report=_report)
    metrics_file = MetricsFile(job=job, settings=chosen, fault=_not_delivered)
    explained = [explain] if options.scheduled_for is None else []
    with _observers() as observers, _told(notifier, is_logged=options.scheduled_for is not None, as_json=as_json):
        finished = runner.run_job(
            database(),
            job,
            chosen.artifacts_dir,
            options=options,
            observers=[*observers, notifier, metrics_file, *explained],
            stop=_stop_on_signals(),
        )
    code = runner.exit_code(finished, job)
    if as_json:
        show_json(finished)
    else:
        typer.echo(_summary(finished))
    if code is ExitCode.TOO_MANY_QUARANTINED:
        notice(
            f"error: {finished.quarantined_count} of {counted(finished.read_count, 'row')}"
            f" {were(finished.quarantined_count)} quarantined, more than the share of"
            f" {job.predictions.max_quarantined:g} that job {job.name} allows;"
            f" see {job.predictions.table}_quarantine"
        )
    raise typer.Exit(code)


@contextmanager
def _told(notifier: Notifier, *, is_logged: bool, as_json: bool) -> Iterator[None]:
    """Somebody hears of a run that could not even be recorded, too; beside the service, as an event of its log."""
    try:
        yield
    except BatchScoringError as exc:
        notifier.without_record(exc)
        if not is_logged:
            raise

        from batch_scoring.sinks import log

        log.log_failed(notifier.job.name, exc)
        if as_json:
            show_error_json(exc)
        raise typer.Exit(exc.exit_code) from exc


def _not_delivered(way: str, reason: str) -> None:
    notice(f"warning: {way}: not delivered ({reason})")


def _report(delivery: Delivery) -> None:
    if not delivery.is_delivered:
        _not_delivered(delivery.channel, f"{delivery.reason}; {delivery.to}")
    elif settings().log_format is not None or not sys.stderr.isatty():
        from batch_scoring.sinks import log

        log.log_delivery(delivery)


def _summary(run: Run) -> str:
    if not run.read_count and run.mode == "lookback":
        return f"run {run.run_id} of {run.job}: nothing that changed within the lookback window was due"
    if not run.read_count and run.trigger == "rescore":
        return f"run {run.run_id} of {run.job}: no row was selected, nothing was scored again"
    if not run.read_count:
        return f"run {run.run_id} of {run.job}: nothing was due"
    text = (
        f"run {run.run_id} of {run.job}: {run.read_count} read, {run.scored_count} scored,"
        f" {run.superseded_count} superseded, {run.quarantined_count} quarantined in {run.seconds:.2f} s"
        f" by {run.model_name} version {run.model_version}"
    )
    if run.sweep_only_count:
        text += f"; {run.sweep_only_count} of them were due outside the lookback window"
    if run.unseen_category_count:
        text += f"; {run.unseen_category_count} with a category the model was not trained on"
    if threshold := run.environment.get("overrides", {}).get("threshold"):
        text += f"; {threshold}"
    return text


def _observers() -> AbstractContextManager[list[Observer]]:
    """A progress bar on a terminal, log events elsewhere or where a format is asked for."""
    log_format = settings().log_format
    if log_format is None and sys.stderr.isatty():
        from batch_scoring.sinks.progress import progress_bar

        return progress_bar(console())

    from batch_scoring.sinks import log

    log.configure(log_format or "json")
    return nullcontext([log.log_event])


def _stop_on_signals() -> threading.Event:
    """SIGTERM and SIGINT end the run after the chunk under way; a second one ends it at once."""
    stop = threading.Event()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        notice(f"{signal.Signals(number).name}: stopping after the chunk under way; once more stops at once")

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    return stop


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


def check_job_is_known(source: Database, job: str) -> None:
    """Raise UnknownJob where a job has neither a file nor a run: its runs stay when its file is gone."""
    from batch_scoring.domain.job_files import load_job
    from batch_scoring.errors import UnknownJob
    from batch_scoring.store.runs import records

    if records.list_runs(source, job=job, limit=1):
        return
    with suppress(ConfigurationError):  # a file that cannot be used names a job, too
        try:
            load_job(settings().jobs_dir, job)
        except UnknownJob as exc:
            raise UnknownJob(f"{exc}; nor is there a run of such a job") from None


def show_runs(found: Sequence[Run]) -> None:
    """The table of runs."""
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
    run_id: Annotated[int, typer.Argument(help="Number of the run.", min=1, max=2**63 - 1)], as_json: Json = False
) -> None:
    """Show everything about one run."""
    from dataclasses import fields

    from batch_scoring.store.runs import records

    found = records.get_run(migrated_database(), run_id)
    if found is None:
        raise InputFault(f"there is no run {run_id}; see `batch-scoring runs`")
    if as_json:
        show_json(found)
        return
    show_record([(field.name, _as_text(getattr(found, field.name))) for field in fields(found)])


def _as_text(value: Any) -> Any:
    """Nested values in the form in which people may copy them: JSON, not Python's."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value


def status(
    job: OptionalJobName = None,
    max_age: Annotated[
        str | None,
        typer.Option("--max-age", help='How old the last success may be, such as "2h" or "1 day".'),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say whether jobs are healthy: exit code 0, or 5 with the reason."""
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
        columns: list[str | TableColumn] = [
            "job",
            "health",
            "last success (UTC)",
            TableColumn(name="age", optional=True),
            "due",
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
                    state.current_count,
                    ", ".join(f"v{one.model_version}: {one.rows:,}" for one in state.versions) or None,
                    state.quarantined_count,
                ]
                for state in states
            ],
        )
    unhealthy = [state for state in states if state.unhealthy]
    for state in unhealthy:
        notice(f"{state.job}: {state.unhealthy}")
    if unhealthy:
        raise typer.Exit(ExitCode.UNHEALTHY)
