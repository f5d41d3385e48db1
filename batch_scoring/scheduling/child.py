"""A run in a child process, so that a leak or a crash ends with the run and does not affect the service."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

GRACE = timedelta(minutes=1)
"""How long a run that was asked to stop may take to finish its current chunk."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How a run's process ended."""

    process_id: int
    exit_code: int
    """Negative if a signal ended it."""
    overran: bool
    """Whether it was stopped because it took longer than ``max_duration``."""
    was_asked: bool
    """Whether it was asked to stop."""

    @property
    def killed_by(self) -> str | None:
        """The signal that killed it; None if it exited by itself, or on SIGTERM after it was asked to stop."""
        if self.exit_code >= 0 or (self.was_asked and self.exit_code == -signal.SIGTERM):
            return None
        try:
            return signal.Signals(-self.exit_code).name
        except ValueError:
            return f"signal {-self.exit_code}"


class RunProcess:
    """One run of a job in a child process; stopped with SIGTERM, and killed if it does not stop in time."""

    def __init__(self, job: str, slot: datetime, environ: Mapping[str, str]) -> None:
        command = [sys.executable, "-m", "batch_scoring", "run", job]
        # a separate session, so that signals of the terminal reach the parent only, which decides when runs stop
        self._process = subprocess.Popen(  # noqa: S603 - this program, and a validated job name
            [*command, "--scheduled-for", f"{slot:%Y-%m-%dT%H:%M:%S.%f}"],
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._stopping = threading.Event()

    @property
    def process_id(self) -> int:
        return self._process.pid

    def stop(self) -> None:
        """Send SIGTERM, which ends the run after its current chunk. Repeated calls have no effect."""
        if not self._stopping.is_set():
            self._stopping.set()
            self._process.terminate()

    def kill(self) -> None:
        """Send SIGKILL. Committed chunks stay; the other rows remain due."""
        self._process.kill()

    def wait(self, *, at_most: timedelta | None, grace: timedelta = GRACE) -> Ended:
        """Wait until it ends; after ``at_most`` it is stopped, and killed ``grace`` later."""
        overran = False
        try:
            self._process.wait(None if at_most is None else at_most.total_seconds())
        except subprocess.TimeoutExpired:
            overran = True
            self.stop()
            try:
                self._process.wait(grace.total_seconds())
            except subprocess.TimeoutExpired:
                self.kill()
                self._process.wait()
        return Ended(
            process_id=self.process_id,
            exit_code=self._process.returncode,
            overran=overran,
            was_asked=self._stopping.is_set(),
        )
