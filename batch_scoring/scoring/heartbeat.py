"""The heartbeat of a run, on its own thread and connection, so that it continues while the model computes."""

from __future__ import annotations

import threading
from datetime import timedelta
from types import TracebackType
from typing import Self

from batch_scoring.errors import DatabaseFault, Fenced
from batch_scoring.store.engine.database import Database
from batch_scoring.store.runs.records import heartbeat

_BEATS_BEFORE_STALLED = 6


class Heartbeat:
    """A context manager that updates the heartbeat several times within ``stalled_after`` while its block runs."""

    def __init__(self, database: Database, run_id: int, stalled_after: timedelta) -> None:
        self._database = database
        self._run_id = run_id
        self._seconds = min(30.0, stalled_after.total_seconds() / _BEATS_BEFORE_STALLED)
        self._ended = threading.Event()
        self._fenced: Fenced | None = None
        self._thread = threading.Thread(target=self._beat, name=f"heartbeat of run {run_id}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _exc: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(timeout=self._database.timeouts.lock.total_seconds())

    def check(self) -> None:
        """Raise Fenced if a heartbeat found that the run no longer owns its job."""
        if self._fenced is not None:
            raise self._fenced

    def _beat(self) -> None:
        while not self._ended.wait(self._seconds):
            try:
                heartbeat(self._database, self._run_id)
            except Fenced as exc:
                self._fenced = exc
                return
            except DatabaseFault:
                continue  # the next heartbeat may succeed; the chunk itself reports an unreachable database
