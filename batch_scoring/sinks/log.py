"""The log on standard error: one event per line, with a constant name and values, never applicant data."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import structlog

from batch_scoring.domain.runs import Status
from batch_scoring.errors import BatchScoringError
from batch_scoring.scoring.events import (
    ChallengerFailed,
    ChunkCommitted,
    DriftEvaluated,
    DriftNotEvaluated,
    EngineChosen,
    EngineDistrusted,
    Event,
    GateNotChecked,
    HeldRowsReleased,
    HoldPlaced,
    HoldReleased,
    ModelPromoted,
    ModelRegistered,
    ModelResolved,
    RunEvent,
    RunFinished,
    RunPlanned,
    RunStarted,
    RunTookOver,
    ScoringIsolated,
    ThresholdOverruled,
    VersionMismatchAccepted,
)
from batch_scoring.scoring.transient import Retry, observe_retries
from batch_scoring.settings import LogFormat

if TYPE_CHECKING:
    from batch_scoring.sinks.notifications import Delivery


def configure(log_format: LogFormat) -> None:
    """Write log events to standard error, as JSON or formatted for a terminal."""
    renderer: Any = structlog.processors.JSONRenderer()
    if log_format == "console":
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )
    observe_retries(log_retry)


def log_event(event: Event) -> None:
    """Log one event."""
    log = structlog.get_logger()
    match event:
        case ModelRegistered():
            log.info(
                "model_registered",
                model=event.name,
                model_version=event.version,
                artifact_sha256=event.artifact_sha256,
                registered_by=event.registered_by,
            )
        case ModelPromoted():
            log.info(
                "model_promoted",
                model=event.name,
                alias=event.alias,
                model_version=event.version,
                previous_version=event.previous_version,
                promoted_by=event.promoted_by,
            )
        case HoldPlaced():
            log.info(
                "hold_placed",
                job=event.job,
                hold_id=event.hold_id,
                held_run_id=event.held_run_id,
                placed_by=event.placed_by,
            )
        case HoldReleased():
            log.info("hold_released", hold_id=event.hold_id, released_by=event.released_by)
        case _:
            _log_run_event(event)


def _log_run_event(event: RunEvent) -> None:
    log = structlog.get_logger().bind(job=event.job)
    match event:
        case RunStarted():
            structlog.contextvars.bind_contextvars(job=event.job, run_id=event.run_id)
            log.info("run_started")
        case RunTookOver():
            log.warning("run_took_over", abandoned_run_id=event.abandoned.run_id, host=event.abandoned.host)
        case RunPlanned():
            log.info("run_planned", due=event.due_count, mode=event.mode)
        case (
            ModelResolved()
            | VersionMismatchAccepted()
            | ThresholdOverruled()
            | EngineChosen()
            | EngineDistrusted()
            | ScoringIsolated()
            | ChallengerFailed()
            | GateNotChecked()
            | HeldRowsReleased()
        ):
            _log_choice(log, event)
        case ChunkCommitted():
            counts = event.counts
            log.info(
                "chunk_committed",
                scored=counts.scored,
                superseded=counts.superseded,
                quarantined=counts.quarantined,
                closed=counts.closed,
                reasons=dict(event.reasons),
                read_seconds=round(event.seconds.read, 3),
                score_seconds=round(event.seconds.score, 3),
                write_seconds=round(event.seconds.write, 3),
            )
        case DriftEvaluated():
            level = log.warning if event.raised or event.reminded else log.info
            level(
                "drift_evaluated",
                raised=list(event.raised),
                cleared=list(event.cleared),
                reminded=list(event.reminded),
            )
        case DriftNotEvaluated():
            log.info("drift_not_evaluated", reason=event.reason)
        case RunFinished():
            run = event.run
            level = log.info if run.status is Status.SUCCEEDED else log.error
            level(
                "run_finished",
                status=run.status.value,
                mode=run.mode,
                due=run.due_count,
                sweep_only=run.sweep_only_count,
                due_by_refresh=run.refresh_count,
                due_by_new_version=run.new_version_count,
                scored=run.scored_count,
                superseded=run.superseded_count,
                quarantined=run.quarantined_count,
                unseen_category=run.unseen_category_count,
                closed=run.closed_count,
                engine=run.engine,
                largest_difference=run.largest_difference,
                seconds=run.seconds,
                model=run.model_name,
                model_version=run.model_version,
                error_type=run.error_type,
                error=run.error_message,
            )


def _log_choice(log: Any, event: RunEvent) -> None:
    """Log how a run scores: the engine, and what an option or an earlier run made it do."""
    match event:
        case ModelResolved():
            level = log.warning if event.note else log.info
            level(
                "model_resolved",
                uri=event.uri,
                model_version=event.version,
                trusted_by=event.trusted_by,
                is_cached=event.is_cached,
                note=event.note,
            )
        case VersionMismatchAccepted():
            log.warning("version_mismatch_accepted", difference=event.difference)
        case ThresholdOverruled():
            log.warning("threshold_overruled", difference=event.difference)
        case EngineChosen():
            log.info("engine_chosen", engine=event.engine, reason=event.reason)
        case EngineDistrusted():
            log.warning("engine_distrusted", reason=event.message, scored=event.scored_count)
        case ScoringIsolated():
            log.warning("scoring_isolated", crashes=event.crashes)
        case ChallengerFailed():
            log.warning("challenger_failed", alias=event.alias, reason=event.failure)
        case GateNotChecked():
            log.warning("gate_not_checked", reason=event.reason)
        case HeldRowsReleased():
            log.warning("held_rows_released", released_run_id=event.released_run_id)


def log_failed(job: str, exc: BatchScoringError) -> None:
    """Log that a run ended with an error, whether it is recorded or not."""
    structlog.get_logger().error("run_failed", job=job, error_type=type(exc).__name__, error=str(exc))


def log_delivery(delivery: Delivery) -> None:
    """Log the result of sending a notice on one channel."""
    log = structlog.get_logger()
    facts = {"channel": delivery.channel, "to": delivery.to, "status": delivery.status, "answer": delivery.reason}
    if delivery.is_delivered:
        log.info("notice_delivered", **facts)
    else:
        log.error("not_delivered", **facts)


def log_retry(retry: Retry) -> None:
    """Log a retry after a transient error."""
    structlog.get_logger().warning(
        "retry_scheduled", number=retry.number, wait_seconds=retry.wait_seconds, error_type=retry.error_type
    )
