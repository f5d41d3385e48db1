"""Executing a run for a command: signals, the printed result and the exit code."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import typer

from batch_scoring.cli.observers import scoring_observers
from batch_scoring.cli.output import database, notice, settings, show_json
from batch_scoring.counting import counted, were
from batch_scoring.errors import ExitCode

if TYPE_CHECKING:
    from batch_scoring.domain.job import Job
    from batch_scoring.domain.runs import Run
    from batch_scoring.scoring.runner import RunOptions


def execute(job: Job, options: RunOptions, *, as_json: bool) -> NoReturn:
    """Run a job, print its record, and exit with the code of the run."""
    from batch_scoring.scoring import runner

    with scoring_observers(job, options, as_json=as_json) as observers:
        finished = runner.run_job(
            database(),
            job,
            settings().artifacts_dir,
            options=options,
            observers=observers,
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


def _summary(run: Run) -> str:
    closed = f"; {counted(run.closed_count, 'outcome')} of deleted rows closed" if run.closed_count else ""
    return _summary_of_scoring(run) + closed + "".join(f"; {text}" for text in _of_challengers(run))


def _of_challengers(run: Run) -> Iterator[str]:
    for one in run.challengers or () if run.read_count else ():
        shown = f"challenger {one['alias']}" + (f" (version {one['model_version']})" if one["model_version"] else "")
        if one["failure"]:
            yield f"{shown} failed after {counted(one['scored_count'], 'row')}: {one['failure']}"
        else:
            yield f"{shown} scored {one['scored_count']:,} of {one['scored_count'] + one['failed_count']:,}"


def _summary_of_scoring(run: Run) -> str:
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
    if run.refresh_count:
        text += f"; {run.refresh_count} of them were due by age"
    if run.new_version_count:
        text += f"; {run.new_version_count} of them were due by model version"
    if run.unseen_category_count:
        text += f"; {run.unseen_category_count} with a category the model was not trained on"
    if threshold := run.environment.get("overrides", {}).get("threshold"):
        text += f"; {threshold}"
    return text


def _stop_on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set, to end the run after its current chunk; a second signal interrupts it."""
    stop = threading.Event()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        notice(f"{signal.Signals(number).name}: stopping after the current chunk; send it again to stop at once")

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    return stop
