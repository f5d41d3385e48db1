"""HTTP endpoints of the scheduler service: ``/healthz``, ``/readyz``, ``/metrics``.

Whoever can reach the port can open connections, so their number, their duration and what they send are limited. Nothing
that arrives ends the service, fills its log or uses up its file descriptors.
"""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager, suppress
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import make_wsgi_app
from prometheus_client.registry import Collector

from batch_scoring.errors import ConfigurationError, Problem
from batch_scoring.monitoring.health import HealthIssue
from batch_scoring.printable import printable
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
            broken.add_metric([printable(name)], float(name in self._service.files.broken))
        yield broken
        faults = CounterMetricFamily("batch_scoring_service_faults", "Unexpected errors of the scheduler's main loop.")
        faults.add_metric([], float(self._service.fault_count))
        yield faults
        seen = GaugeMetricFamily("batch_scoring_database_up", "1 if the database answered at the last poll.")
        seen.add_metric([], float(self._monitor.problem is None))
        yield seen


def is_ready(service: Service, monitor: HealthMonitor) -> str | None:
    """Why the service is not ready; None if it is."""
    if not service.is_alive:
        return "the service does not tick"
    if service.fault is not None:
        return service.fault
    if service.paused is not None:
        return service.paused
    if service.files.problem is not None:
        return service.files.problem
    if monitor.problem is not None:
        return monitor.problem
    if service.files.broken:
        return "; ".join(str(exc) for exc in service.files.broken.values())
    refused = [state for state in monitor.states if state.issue is HealthIssue.MODEL]
    return "; ".join(f"job {state.job}: {state.unhealthy}" for state in refused) or None


def _remarks(monitor: HealthMonitor) -> Iterator[str]:
    """Jobs that are held or drift. The service is ready all the same."""
    for state in monitor.states:
        if state.issue in (HealthIssue.HELD, HealthIssue.DRIFT):
            yield f"job {state.job}: {state.unhealthy}"


@contextmanager
def answering(address: tuple[str, int], service: Service, monitor: HealthMonitor) -> Iterator[int]:
    """Listen on an address while the block lasts; yields the port. Raises ConfigurationError if it is in use."""
    registry = CollectorRegistry()
    registry.register(_MonitoredJobs(service, monitor))
    for own in (ProcessCollector, PlatformCollector, GCCollector):
        own(registry=registry)
    try:
        kind = _Server6 if ":" in address[0] else _Server
        server = make_server(*address, _application(service, monitor, registry), kind, handler_class=_Handler)
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


MOST_CONNECTIONS = 50
"""Connections that are served at a time. One more closes the oldest: a probe is answered in milliseconds."""

_LONGEST_SECONDS = 10.0
"""A connection is closed after this long, whatever it sends until then."""

_IDLE_SECONDS = 5.0
"""A connection is closed if nothing arrives for this long."""


class _Server(ThreadingMixIn, WSGIServer):
    """A server with a limited number of connections, each for a limited time."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._opened: dict[socket.socket, float] = {}
        """Open connections, the oldest first, and when each was accepted."""
        self._lock = threading.Lock()
        super().__init__(*arguments, **options)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._opened[request] = time.monotonic()
            surplus = list(self._opened)[:-MOST_CONNECTIONS]
        for connection in surplus:
            _close(connection)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._opened.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Close the connections that have been open for too long; called every half second."""
        limit = time.monotonic() - _LONGEST_SECONDS
        with self._lock:
            late = [connection for connection, accepted in self._opened.items() if accepted < limit]
        for connection in late:
            _close(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections that fail are not logged: whoever reaches the port could fill the log."""


def _close(connection: socket.socket) -> None:
    """Wake the thread that reads from a connection; it then closes it."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = _IDLE_SECONDS

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the signature of the base class
        pass

    def get_stderr(self) -> Any:
        """Errors of connections are not logged."""
        return io.StringIO()


def _application(service: Service, monitor: HealthMonitor, registry: CollectorRegistry) -> Any:
    metrics = make_wsgi_app(registry)

    def application(environ: Mapping[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "/")
        remarks: list[str] = []
        if path == "/metrics":
            answer: Iterable[bytes] = metrics(environ, start_response)
            return answer
        if path == "/healthz":
            problem = None if service.is_alive else "the service does not tick"
        elif path == "/readyz":
            problem = is_ready(service, monitor)
            remarks = list(_remarks(monitor))
        else:
            start_response("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
            return [b"/healthz, /readyz, /metrics\n"]
        status = "200 OK" if problem is None else "503 Service Unavailable"
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return ["".join(f"{printable(line)}\n" for line in (problem or "ok", *remarks)).encode()]

    return application
