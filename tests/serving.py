"""The scheduler service as a process: its log, and what it answers."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from support import Workspace, wait_until

EVERY_SECOND = '\n[schedule]\nevery = "1 second"\n'
NEVER = '\n[schedule]\ncron = "0 0 1 1 *"\n'


def without_schedule(job: str) -> str:
    """A job file without its last sections, which a schedule of the test's own may follow."""
    return job.partition("[schedule]")[0]


class Serving:
    """A service that runs, its log, and where it answers."""

    def __init__(self, workspace: Workspace, log: Path, process: subprocess.Popen[bytes], port: int) -> None:
        self.workspace, self.log, self.process, self.port = workspace, log, process, port
        self._read_bytes = 0
        self._events: list[dict[str, Any]] = []

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """Its log, and that of its runs; each line is one event."""
        with self.log.open("rb") as log:
            log.seek(self._read_bytes)
            lines, end_of_line, _ = log.read().rpartition(b"\n")
        self._read_bytes += len(lines + end_of_line)
        self._events += [json.loads(line) for line in lines.splitlines() if line.startswith(b"{")]
        return [event for event in self._events if name is None or event["event"] == name]

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as exc:
            return exc.code, exc.read().decode()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=60)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port


@contextmanager
def serving(workspace: Workspace) -> Iterator[Serving]:
    """A service in a process group of its own while the block lasts; nothing of it is left."""
    port = _free_port()
    log = workspace.folder / f"service-{port}.log"
    environ = {**workspace.process_environ, "BATCH_SCORING_LISTEN": f"127.0.0.1:{port}"}
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "batch_scoring", "schedule"],
            cwd=workspace.folder,
            env={**environ, "BATCH_SCORING_LOG_FORMAT": "json"},
            stderr=sink,
            process_group=0,
        )
    service = Serving(workspace, log, process, port)
    try:
        wait_until(lambda: process.poll() is not None or service.events("service_started"))
        yield service
    finally:
        process.kill()
        process.wait()
        # the number of a process that ended may be another's by now
        ended = [event["process_id"] for event in service.events("run_ended")]
        for run in service.events("slot_fired"):
            if run["process_id"] in ended:
                ended.remove(run["process_id"])
            else:
                _end(run["process_id"])


def _end(process_id: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process_id, signal.SIGKILL)
