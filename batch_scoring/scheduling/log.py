"""Log events of the scheduler service."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from batch_scoring.scheduling.service import ServiceEvent


def log_listening(host: str, port: int) -> None:
    """Log the address that the service listens on."""
    structlog.get_logger().info("listening", host=host, port=port)


def log_service_event(event: ServiceEvent) -> None:
    """Log one event of the scheduler service."""
    from batch_scoring.scheduling import service

    log = structlog.get_logger()
    match event:
        case service.ServiceStarted():
            log.info("service_started", jobs=list(event.jobs))
        case service.ServiceStopped():
            log.info("service_stopped")
        case service.JobScheduled():
            log.info("job_scheduled", job=event.job, next_slot=_iso(event.next_slot))
        case service.JobUnscheduled():
            log.info("job_unscheduled", job=event.job)
        case service.JobFileBroken():
            log.error("job_file_broken", job=event.job, problem=event.problem)
        case service.SlotFired():
            log.info("slot_fired", job=event.job, slot=_iso(event.slot), process_id=event.process_id)
        case service.SlotPassedOver():
            log.warning("slot_passed_over", job=event.job, slot=_iso(event.slot))
        case service.ServiceFault():
            log.error("service_fault", job=event.job, problem=event.problem)
        case service.RunEnded():
            level = log.info if event.ended.exit_code == 0 else log.error
            level(
                "run_ended",
                job=event.job,
                process_id=event.ended.process_id,
                exit_code=event.ended.exit_code,
                killed_by=event.ended.killed_by,
                overran=event.ended.overran,
                abandoned_run_id=event.abandoned.run_id if event.abandoned else None,
            )


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.astimezone(UTC).isoformat()
