"""Log events on standard error: one a line, constant names with values beside them, never applicant data."""

from __future__ import annotations

import sys
from typing import Any

import structlog

from batch_scoring.scoring.events import (
    ChunkCommitted,
    Event,
    RunFinished,
    RunPlanned,
    RunStarted,
    RunTookOver,
    VersionMismatchAccepted,
)
from batch_scoring.settings import LogFormat
from batch_scoring.store.runs import Status


def configure(log_format: LogFormat) -> None:
    """Send log events to standard error, as JSON or for a person."""
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


def log_event(event: Event) -> None:
    """One log line for one fact of a run."""
    log = structlog.get_logger().bind(job=event.job)
    match event:
        case RunStarted():
            structlog.contextvars.bind_contextvars(job=event.job, run_id=event.run_id)
            log.info("run_started")
        case RunTookOver():
            log.warning("run_took_over", abandoned_run_id=event.abandoned.run_id, host=event.abandoned.host)
        case RunPlanned():
            log.info("run_planned", due=event.due_count, mode=event.mode)
        case VersionMismatchAccepted():
            log.warning("version_mismatch_accepted", difference=event.difference)
        case ChunkCommitted():
            counts = event.counts
            log.info(
                "chunk_committed",
                scored=counts.scored,
                superseded=counts.superseded,
                quarantined=counts.quarantined,
                reasons=dict(event.reasons),
                read_seconds=round(event.seconds.read, 3),
                score_seconds=round(event.seconds.score, 3),
                write_seconds=round(event.seconds.write, 3),
            )
        case RunFinished():
            run = event.run
            level = log.info if run.status is Status.SUCCEEDED else log.error
            level(
                "run_finished",
                status=run.status.value,
                mode=run.mode,
                due=run.due_count,
                sweep_only=run.sweep_only_count,
                scored=run.scored_count,
                superseded=run.superseded_count,
                quarantined=run.quarantined_count,
                unseen_category=run.unseen_category_count,
                seconds=run.seconds,
                model=run.model_name,
                model_version=run.model_version,
                error_type=run.error_type,
                error=run.error_message,
            )
