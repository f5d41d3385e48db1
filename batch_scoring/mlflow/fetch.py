"""Finding and downloading the files of a model, in a helper process that ends when the server does not answer."""

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

from batch_scoring.domain.mlflow_uri import ModelUri
from batch_scoring.errors import (
    ArtifactMissing,
    ExtraMissing,
    NoSuchModel,
    TrackingServerRefused,
    TrackingServerUnavailable,
)
from batch_scoring.mlflow.protocol import Found
from batch_scoring.mlflow.server import Server

PATIENCE = 15.0
"""Seconds without an answer, and without a byte of a download, after which the server counts as unavailable."""

_POLL = 0.2


class Fetch:
    """The files of one model. A context manager: leaving it ends the helper process."""

    def __init__(self, server: Server, uri: str, folder: Path, *, patience: float = PATIENCE) -> None:
        self._server = server
        self._uri = uri
        self._folder = folder
        self._patience = patience
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "batch_scoring.mlflow.helper"],
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

    def resolve(self) -> Found:
        """What the URI points to.

        Raises NoSuchModel, TrackingServerRefused, TrackingServerUnavailable, ExtraMissing.
        """
        return Found(**self._ask({"do": "resolve", "uri": self._uri}))

    def download(self, found: Found, file: str) -> Path:
        """Download a file; its size is compared with the one that the server lists.

        Raises ArtifactMissing, TrackingServerRefused, TrackingServerUnavailable.
        """
        listed = found.files.get(file)
        if listed is None:
            raise ArtifactMissing(
                f"{found.uri} on {self._server.shown} has no file {file}; log the model again", path=None
            )
        answer = self._ask({"do": "download", "uri": found.uri, "file": file, "folder": str(self._folder)})
        path = Path(answer["path"])
        size = path.stat().st_size
        if size != listed:
            raise TrackingServerUnavailable(
                f"the download of {file} of {found.uri} ended after {size:,} of {listed:,} bytes; nothing was scored,"
                " try again"
            )
        return path

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended: the empty answer says so
        answer = self._answer()
        if "fault" in answer:
            raise self._error(answer["fault"], answer.get("status"))
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
                        f"the tracking server {self._server.shown} did not answer within {self._patience:g} seconds"
                    ) from None
                continue
            if not line:
                raise TrackingServerUnavailable(
                    f"the process that asks the tracking server {self._server.shown} ended without an answer"
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
        """Bytes in the folder."""
        total = 0
        for path in self._folder.rglob("*"):
            try:
                total += path.stat().st_size
            except OSError:
                continue
        return total

    def _error(self, fault: str, status: int | None) -> Exception:
        shown = self._server.shown
        if fault == "extra":
            return ExtraMissing("MLflow needs the extra: pip install 'batch-scoring[mlflow]'")
        if fault == "denied":
            return TrackingServerRefused(
                f"the tracking server {shown} refuses access to {self._uri}; check MLFLOW_TRACKING_USERNAME and"
                " MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, and what that user may read"
            )
        if fault == "missing":
            parsed = ModelUri.parse(self._uri)
            return NoSuchModel(
                f"the tracking server {shown} has no {self._uri}, or not its files; correct [model] uri, or set the"
                " alias in MLflow",
                model=parsed.name,
                alias=parsed.alias,
            )
        answered = f"answered with status {status}" if status is not None else "cannot be reached, or failed"
        return TrackingServerUnavailable(f"the tracking server {shown} {answered}; see its log, then run again")
