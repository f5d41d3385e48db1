"""The process that imports MLflow's client, seen from here. It is ended when the server does not answer."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Self

import batch_scoring
from batch_scoring.errors import ExtraMissing, NoSuchModel, TrackingServerRefused, TrackingServerUnavailable
from batch_scoring.mlflow.server import Server

PATIENCE = 15.0
"""Seconds without an answer, and without a byte of a download, after which the server counts as unavailable."""

_POLL = 0.2

_PROGRAM = "import sys; sys.path.append(sys.argv[1]); from batch_scoring.mlflow.client_process import main; main()"
_SOURCE = str(Path(batch_scoring.__file__).resolve().parent.parent)
"""The folder of this package, which is looked for last. With -P, no mlflow.py of the current folder is imported."""


class Client:
    """MLflow's client in a process of its own. A context manager: leaving it ends the process."""

    def __init__(self, server: Server, *, downloads: Path | None = None, patience: float = PATIENCE) -> None:
        """``downloads`` is a folder whose growth counts as progress."""
        self.server = server
        self._downloads = downloads
        self._patience = patience
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._process = subprocess.Popen(  # noqa: S603 - this program
            [sys.executable, "-P", "-c", _PROGRAM, _SOURCE],
            env=server.environ(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        threading.Thread(target=self._read, name="answers of MLflow", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, do: str, *, about: str, **values: Any) -> dict[str, Any]:
        """Let the process do something; ``about`` names it in messages, such as a URI.

        Raises NoSuchModel, TrackingServerRefused, TrackingServerUnavailable, ExtraMissing.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **values}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended: the empty answer says so
        answer = self._answer()
        if "fault" in answer:
            raise self._error(answer["fault"], answer.get("status"), about)
        return answer

    def _answer(self) -> dict[str, Any]:
        """The next answer. Raises TrackingServerUnavailable where there is none, and no progress of a download."""
        progress, since = self._downloaded(), monotonic()
        while True:
            try:
                line = self._answers.get(timeout=_POLL)
            except queue.Empty:
                if (now := self._downloaded()) != progress:
                    progress, since = now, monotonic()
                if monotonic() - since > self._patience:
                    raise TrackingServerUnavailable(
                        f"the tracking server {self.server.shown} did not answer within {self._patience:g} seconds"
                    ) from None
                continue
            if not line:
                raise TrackingServerUnavailable(
                    f"the process that asks the tracking server {self.server.shown} ended without an answer"
                )
            answer: dict[str, Any] = json.loads(line)
            return answer

    def _read(self) -> None:
        assert self._process.stdout is not None
        try:
            for line in self._process.stdout:
                self._answers.put(line)
        except ValueError:  # closed meanwhile
            pass
        self._answers.put("")

    def _downloaded(self) -> int:
        """Bytes in the folder of downloads."""
        total = 0
        for path in self._downloads.rglob("*") if self._downloads is not None else ():
            try:
                total += path.stat().st_size
            except OSError:
                continue
        return total

    def _error(self, fault: str, status: int | None, about: str) -> Exception:
        shown = self.server.shown
        if fault == "extra":
            return ExtraMissing.of("mlflow", "MLflow needs")
        if fault == "denied":
            return TrackingServerRefused(
                f"the tracking server {shown} refuses access to {about}; check MLFLOW_TRACKING_USERNAME and"
                " MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, and what that user may do"
            )
        if fault == "missing":
            return NoSuchModel(
                f"the tracking server {shown} has no {about}, or not its files; correct the name, or set the alias in"
                " MLflow"
            )
        answered = f"answered with status {status}" if status is not None else "cannot be reached, or failed"
        return TrackingServerUnavailable(f"the tracking server {shown} {answered}; see its log, then try again")
