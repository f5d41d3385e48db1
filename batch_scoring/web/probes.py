"""HTTP endpoints of the scheduler service: ``/healthz``, ``/readyz``, ``/metrics``."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import ThreadingWSGIServer, make_wsgi_app
from prometheus_client.registry import Collector

from batch_scoring.errors import ConfigurationError, Problem
from batch_scoring.monitoring.health import HealthIssue
from batch_scoring.sinks.prometheus import JOB_LABEL, JobMetrics

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric

    from batch_scoring.scheduling.health_monitor import HealthMonitor
    from batch_scoring.scheduling.service import Service


class _MonitoredJobs(Collector):
    """Metrics of the jobs as of the last poll, and of their files."""

    def __init__(self, service: Service, monitor: HealthMonitor) -> None:
        self._service = service
        self._monitor = monitor

    def collect(self) -> Iterator[Metric]:
        yield from JobMetrics(self._monitor.totals, self._monitor.states).collect()
        broken = GaugeMetricFamily("batch_scoring_job_file_broken", "1 if the job file is invalid.", labels=[JOB_LABEL])
        for name in {*self._service.files.jobs, *self._service.files.broken}:
            broken.add_metric([name], float(name in self._service.files.broken))
        yield broken
        seen = GaugeMetricFamily("batch_scoring_database_up", "1 if the database answered at the last poll.")
        seen.add_metric([], float(self._monitor.problem is None))
        yield seen


def is_ready(service: Service, monitor: HealthMonitor) -> str | None:
    """Why the service is not ready; None if it is."""
    if not service.is_alive:
        return "the service does not tick"
    if service.paused is not None:
        return service.paused
    if monitor.problem is not None:
        return monitor.problem
    if service.files.broken:
        return "; ".join(str(exc) for exc in service.files.broken.values())
    refused = [state for state in monitor.states if state.issue is HealthIssue.MODEL]
    return "; ".join(f"job {state.job}: {state.unhealthy}" for state in refused) or None


@contextmanager
def answering(address: tuple[str, int], service: Service, monitor: HealthMonitor) -> Iterator[int]:
    """Listen on an address while the block lasts; yields the port. Raises ConfigurationError if it is in use."""
    registry = CollectorRegistry()
    registry.register(_MonitoredJobs(service, monitor))
    for own in (ProcessCollector, PlatformCollector, GCCollector):
        own(registry=registry)
    try:
        server = make_server(
            *address, _application(service, monitor, registry), ThreadingWSGIServer, handler_class=_Quiet
        )
    except OSError as exc:
        message = f"cannot listen on {address[0]}:{address[1]}: {exc.strerror}; name another address, or off"
        raise ConfigurationError([Problem(where="BATCH_SCORING_LISTEN", key="", message=message)]) from exc
    thread = threading.Thread(target=server.serve_forever, name="health", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the signature of the base class
        pass


def _application(service: Service, monitor: HealthMonitor, registry: CollectorRegistry) -> Any:
    metrics = make_wsgi_app(registry)

    def application(environ: Mapping[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "/")
        if path == "/metrics":
            answer: Iterable[bytes] = metrics(environ, start_response)
            return answer
        if path == "/healthz":
            problem = None if service.is_alive else "the service does not tick"
        elif path == "/readyz":
            problem = is_ready(service, monitor)
        else:
            start_response("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
            return [b"/healthz, /readyz, /metrics\n"]
        status = "200 OK" if problem is None else "503 Service Unavailable"
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{problem or 'ok'}\n".encode()]

    return application
