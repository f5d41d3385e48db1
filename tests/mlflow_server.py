"""A tracking server of MLflow in an environment of its own, and a proxy before it that fails as servers do."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import watchdog
from support import REPOSITORY

MLFLOW = REPOSITORY / ".venv-mlflow" / "bin" / "mlflow"

_SECONDS_TO_START = 120


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class MlflowServer:
    """A server that keeps its models in a folder."""

    def __init__(self, folder: Path, backend: str | None = None) -> None:
        if not MLFLOW.exists():
            pytest.fail(f"{MLFLOW.parent.parent} is missing: run `make .venv-mlflow/.installed`", pytrace=False)
        self.folder = folder
        self.artifacts = folder / "artifacts"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        watchdog.remove_at_the_end(folder)
        environ = {
            "PATH": f"{MLFLOW.parent}:{os.environ['PATH']}",
            "HOME": str(folder),
            watchdog.MARK: os.environ[watchdog.MARK],
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
        self._log = (folder / "server.log").open("w")
        self._process = subprocess.Popen(
            [
                *(str(MLFLOW), "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"),
                *("--backend-store-uri", backend or f"sqlite:///{folder / 'mlflow.db'}"),
                *("--artifacts-destination", str(self.artifacts)),
            ],
            env=environ,
            cwd=folder,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        wait_for(f"{self.url}/health", self._process)

    def file_of(self, model_id: str, name: str) -> Path:
        """Where the server keeps a file of a logged model."""
        (found,) = self.artifacts.glob(f"*/models/{model_id}/artifacts/{name}")
        return found

    def stop(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._log.close()


def wait_for(url: str, process: subprocess.Popen[Any], seconds: float = _SECONDS_TO_START) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the server of {url} ended"
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(url)


@contextmanager
def serving(model_uri: str, tracking_uri: str, folder: Path) -> Iterator[str]:
    """``mlflow models serve`` in this environment; yields the address of its predictions."""
    port = free_port()
    environ = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        watchdog.MARK: os.environ[watchdog.MARK],
        "MLFLOW_TRACKING_URI": tracking_uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    process = subprocess.Popen(
        [
            *("mlflow", "models", "serve", "--model-uri", model_uri, "--env-manager", "local"),
            *("--host", "127.0.0.1", "--port", str(port)),
        ],
        env=environ,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(f"http://127.0.0.1:{port}/ping", process)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class Proxy:
    """Passes requests to a server, or fails as ``fault`` says."""

    def __init__(self, server: MlflowServer) -> None:
        self.fault: str | None = None
        """None, ``hang``, ``cut``, ``flip`` or the status of every answer. ``cut`` and ``flip`` concern model files."""
        self.requests = 0
        self.stopped = threading.Event()
        proxy, port = self, server.port

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                proxy.requests += 1
                if proxy.fault == "hang":
                    proxy.stopped.wait(600)
                    self.close_connection = True
                    return
                if proxy.fault is not None and proxy.fault.isdigit():
                    self._answer(int(proxy.fault), b'{"message": "Loan_ID LP001015 of Jane Doe"}')
                    return
                length = int(self.headers.get("Content-Length", 0))
                connection = http.client.HTTPConnection("127.0.0.1", port)
                connection.request(self.command, self.path, self.rfile.read(length), dict(self.headers))
                answer = connection.getresponse()
                body = answer.read()
                connection.close()
                if "/mlflow-artifacts/artifacts/" in self.path and self.path.endswith(".pkl"):
                    if proxy.fault == "cut":
                        body = body[: len(body) // 2]
                    elif proxy.fault == "flip":
                        body = body[:-20] + bytes([body[-20] ^ 1]) + body[-19:]
                self._answer(answer.status, body, answer.headers.get("Content-Type", "application/json"))

            do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - names of http.server

            def _answer(self, status: int, body: bytes, kind: str = "application/json") -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()
