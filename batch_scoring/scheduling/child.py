"""A run as a process of its own: what it leaks or breaks ends with it, and the service goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

GRACE = timedelta(minutes=1)
"""How long a run that was asked to stop may take for the chunk under way."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How a run's process ended."""

    process_id: int
    exit_code: int
    """Negative where a signal ended it."""
    overran: bool
    """It was stopped because it took longer than the job allows."""
    was_asked: bool
    """It was asked to stop."""

    @property
    def died(self) -> str | None:
        """What killed it, None where it left by itself, or was asked to before it could do so gently."""
        if self.exit_code >= 0 or (self.was_asked and self.exit_code == -signal.SIGTERM):
            return None
        try:
            return signal.Signals(-self.exit_code).name
        except ValueError:
            return f"signal {-self.exit_code}"


class RunProcess:
    """One run of a job in a child process; stopped gently once, and killed where that does not help."""

    def __init__(self, job: str, slot: datetime, environ: Mapping[str, str]) -> None:
        command = [sys.executable, "-m", "batch_scoring", "run", job]
        # the parent alone decides when a run is to stop: a session of its own keeps the terminal's signals away
        self._process = subprocess.Popen(  # noqa: S603 - our own program and a job name that was checked
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
        """Ask it to end after the chunk under way; what was asked once is not asked again."""
        if not self._stopping.is_set():
            self._stopping.set()
            self._process.terminate()

    def kill(self) -> None:
        """End it now. What it had committed stays, the rest is due."""
        self._process.kill()

    def wait(self, *, at_most: timedelta | None, grace: timedelta = GRACE) -> Ended:
        """Wait for its end; after ``at_most`` it is stopped, and killed after ``grace`` more."""
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
