"""``schedule``: the scheduler service."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from types import FrameType

from batch_scoring.cli.output import database, notice, settings
from batch_scoring.errors import ConfigurationError, ExitCode, Problem


def schedule() -> None:
    """Run the scheduler service: start the runs of every job with a schedule, and notify operators of problems.

    Runs in the foreground. SIGTERM or SIGINT stops it after the current chunks, a second one at once. Job files are
    reloaded when they change.
    """
    from batch_scoring.scheduling import log as service_log
    from batch_scoring.scheduling.health_monitor import HealthMonitor
    from batch_scoring.scheduling.job_files import JobFiles
    from batch_scoring.scheduling.service import RunEnded, Service, ServiceEvent
    from batch_scoring.sinks import log
    from batch_scoring.sinks.notifications import Notice, notify_aside
    from batch_scoring.web.probes import answering

    def emit(event: ServiceEvent) -> None:
        service_log.log_service_event(event)
        if isinstance(event, RunEnded):
            monitor.wake.set()

    chosen = settings()
    log_format = chosen.log_format or ("console" if sys.stderr.isatty() else "json")
    log.configure(log_format)
    if not chosen.jobs_dir.is_dir():
        message = f"there is no folder {chosen.jobs_dir}/; create it with job files, or set another folder"
        raise ConfigurationError([Problem(where="BATCH_SCORING_JOBS_DIR", key="", message=message)])

    def notify(message: Notice) -> None:
        notify_aside(chosen.recipients, message, log.log_delivery)

    files, found = JobFiles(chosen.jobs_dir), database()
    service = Service(files, found, emit=emit, environ={**os.environ, "BATCH_SCORING_LOG_FORMAT": log_format})
    monitor = HealthMonitor(files, found, chosen.artifacts_dir, notify)
    _end_on_signals(service.stop, service.kill)
    ended = threading.Event()
    with ExitStack() as stack:
        if chosen.listen is not None:
            port = stack.enter_context(answering(chosen.listen, service, monitor))
            service_log.log_listening(chosen.listen[0], port)
        threading.Thread(target=monitor.run, args=[ended], name="health monitor", daemon=True).start()
        try:
            service.run()
        finally:
            ended.set()
            monitor.wake.set()
    found.dispose()


def _end_on_signals(stop: Callable[[], None], kill: Callable[[], None]) -> None:
    asked = threading.Event()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if asked.is_set():
            kill()
            raise SystemExit(ExitCode.RUN_FAILED)
        asked.set()
        notice(f"{signal.Signals(number).name}: stopping after the current chunks; send it again to stop at once")
        stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
