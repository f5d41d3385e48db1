"""Which observers receive the events of a command: progress bar or log, notifications, metrics file."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from batch_scoring.cli.output import console, notice, settings, show_error_json
from batch_scoring.errors import BatchScoringError

if TYPE_CHECKING:
    from batch_scoring.domain.job import Job
    from batch_scoring.scoring.events import Event, Observer
    from batch_scoring.scoring.runner import RunOptions
    from batch_scoring.sinks.notifications import Delivery
    from batch_scoring.sinks.notifier import Notifier


@contextmanager
def scoring_observers(job: Job, options: RunOptions, *, as_json: bool) -> Iterator[Sequence[Observer]]:
    """The observers of a run that scores rows, with a progress bar on a terminal.

    Operators are also notified of a BatchScoringError that ends the run before it is recorded. In a run that the
    scheduler service started, it becomes a log event and ends the command with its exit code.
    """
    notifier = _notifier(job)
    explained: list[Observer] = [_explain_engine, _explain_model]
    if options.scheduled_for is None:
        explained.append(_explain_unversioned)
    observers: list[Observer] = [notifier, _metrics_file(job), *_mlflow_runs(job), *explained, _explain_drift]
    with _unrecorded_failures_notified(notifier, is_logged=options.scheduled_for is not None, as_json=as_json):
        if _is_for_a_person():
            from batch_scoring.sinks.progress import progress_bar

            with progress_bar(console()) as bar:
                yield _evaluating_drift(job, [*bar, *observers])
        else:
            yield _evaluating_drift(job, [*event_log(), *observers])


def _evaluating_drift(job: Job, observers: Sequence[Observer]) -> Sequence[Observer]:
    """The evaluation of drift before the others, whose figures contain its result."""
    from batch_scoring.sinks.drift import DriftEvaluation

    return [DriftEvaluation(job=job, database_url=settings().database_url, observers=observers), *observers]


def operation_observers(job: Job) -> Sequence[Observer]:
    """The observers of an operation on a job's tables, such as a purge, which is recorded as a run."""
    return [*event_log(), _notifier(job), _metrics_file(job)]


def event_log() -> Sequence[Observer]:
    """The log on standard error; none on a terminal, unless a log format is set."""
    if _is_for_a_person():
        return []

    from batch_scoring.sinks import log

    log.configure(settings().log_format or "json")
    return [log.log_event]


def _is_for_a_person() -> bool:
    return settings().log_format is None and sys.stderr.isatty()


def _notifier(job: Job) -> Notifier:
    from batch_scoring.sinks.notifier import Notifier

    return Notifier(job, settings(), report=_report)


def _mlflow_runs(job: Job) -> Sequence[Observer]:
    if not job.mlflow.log_runs:
        return []

    from batch_scoring.sinks.mlflow_runs import MlflowRuns

    return [MlflowRuns(job=job, fault=_not_delivered)]


def _metrics_file(job: Job) -> Observer:
    from batch_scoring.sinks.metrics_file import MetricsFile

    return MetricsFile(job=job, settings=settings(), fault=_not_delivered)


def _explain_unversioned(event: Event) -> None:
    from batch_scoring.scoring.events import RunPlanned
    from batch_scoring.store.source.table import SCORED_ONCE

    if isinstance(event, RunPlanned) and event.is_first_of_unversioned:
        notice(f"note: {SCORED_ONCE}")


def _explain_model(event: Event) -> None:
    from batch_scoring.scoring.events import ModelResolved

    if isinstance(event, ModelResolved) and event.note:
        notice(f"{'warning' if event.is_cached else 'note'}: {event.note}")


def _explain_drift(event: Event) -> None:
    from batch_scoring.scoring.events import DriftEvaluated, DriftNotEvaluated

    if isinstance(event, DriftEvaluated):
        for text in (*event.raised, *(f"still {reminded}" for reminded in event.reminded)):
            notice(f"drift: {text}")
        for text in event.cleared:
            notice(f"no longer drift: {text}")
        notice(f"see `batch-scoring monitor {event.job}`")
    elif isinstance(event, DriftNotEvaluated) and event.reason.startswith("unexpected "):
        notice(f"warning: drift was not evaluated: {event.reason}")


def _explain_engine(event: Event) -> None:
    from batch_scoring.scoring.events import EngineDistrusted

    if isinstance(event, EngineDistrusted):
        notice(f"warning: {event.message}; the rest of the run is scored in Python")
        if event.scored_count:
            notice(
                f"warning: the database has written {event.scored_count:,} predictions of run {event.run_id};"
                f' set [run] engine = "python" and score them again with `batch-scoring rescore {event.job} --all`'
            )


@contextmanager
def _unrecorded_failures_notified(notifier: Notifier, *, is_logged: bool, as_json: bool) -> Iterator[None]:
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


def _report(delivery: Delivery) -> None:
    if not delivery.is_delivered:
        _not_delivered(delivery.channel, f"{delivery.reason}; {delivery.to}")
    elif not _is_for_a_person():
        from batch_scoring.sinks import log

        log.log_delivery(delivery)


def _not_delivered(channel: str, reason: str) -> None:
    notice(f"warning: {channel}: not delivered ({reason})")
