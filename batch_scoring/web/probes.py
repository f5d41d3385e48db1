"""Answers over HTTP for those who watch the service: ``/healthz``, ``/readyz``, ``/metrics``."""

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
    """The jobs as the watch last saw them, and the state of their files."""

    def __init__(self, service: Service, watch: HealthMonitor) -> None:
        self._service = service
        self._watch = watch

    def collect(self) -> Iterator[Metric]:
        yield from JobMetrics(self._watch.totals, self._watch.states).collect()
        broken = GaugeMetricFamily(
            "batch_scoring_job_file_broken", "1 where a job's file cannot be used as it is now.", labels=[JOB_LABEL]
        )
        for name in {*self._service.files.jobs, *self._service.files.broken}:
            broken.add_metric([name], float(name in self._service.files.broken))
        yield broken
        seen = GaugeMetricFamily("batch_scoring_database_up", "1 where the database answered at the last look.")
        seen.add_metric([], float(self._watch.problem is None))
        yield seen


def is_ready(service: Service, watch: HealthMonitor) -> str | None:
    """Why the service cannot do its work now; None where it can."""
    if not service.is_alive:
        return "the service does not tick"
    if service.paused is not None:
        return service.paused
    if watch.problem is not None:
        return watch.problem
    if service.files.broken:
        return "; ".join(str(exc) for exc in service.files.broken.values())
    refused = [state for state in watch.states if state.trouble is HealthIssue.MODEL]
    return "; ".join(f"job {state.job}: {state.unhealthy}" for state in refused) or None


@contextmanager
def answering(address: tuple[str, int], service: Service, watch: HealthMonitor) -> Iterator[int]:
    """Answer on an address while the block lasts; gives the port. Raises ConfigurationError where it is taken."""
    registry = CollectorRegistry()
    registry.register(_MonitoredJobs(service, watch))
    for own in (ProcessCollector, PlatformCollector, GCCollector):
        own(registry=registry)
    try:
        server = make_server(
            *address, _application(service, watch, registry), ThreadingWSGIServer, handler_class=_Quiet
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
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the signature is the library's
        pass


def _application(service: Service, watch: HealthMonitor, registry: CollectorRegistry) -> Any:
    metrics = make_wsgi_app(registry)

    def application(environ: Mapping[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "/")
        if path == "/metrics":
            answer: Iterable[bytes] = metrics(environ, start_response)
            return answer
        if path == "/healthz":
            problem = None if service.is_alive else "the service does not tick"
        elif path == "/readyz":
            problem = is_ready(service, watch)
        else:
            start_response("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
            return [b"/healthz, /readyz, /metrics\n"]
        status = "200 OK" if problem is None else "503 Service Unavailable"
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{problem or 'ok'}\n".encode()]

    return application
