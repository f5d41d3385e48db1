"""A process beside each test process that cleans up after it, however it ends: also by Ctrl-C, SIGTERM or ``kill -9``.

Everything that a test process starts inherits a mark in its environment. When the test process is gone, the watchdog
ends the processes that carry the mark, and removes the folders that it was told of. It has a session of its own, so
that a signal to the tests does not reach it.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

MARK = "TESTS_OF_BATCH_SCORING"
"""The variable that every process started by a test process inherits."""

_PATIENCE = {signal.SIGTERM: 2, signal.SIGINT: 5, signal.SIGKILL: 5}
"""How many seconds processes get to end after each signal. PostgreSQL waits for its clients after the first one, ends
their sessions after the second one, and leaves shared memory behind after the third one."""

_pipe: int | None = None


def start() -> None:
    """Start the watchdog of this process and mark what this process starts from here on."""
    global _pipe
    os.environ[MARK] = uuid.uuid4().hex
    reading, _pipe = os.pipe()
    environ = {name: value for name, value in os.environ.items() if name != MARK}
    command = [sys.executable, __file__, str(os.getpid()), os.environ[MARK]]
    os.posix_spawn(sys.executable, command, environ, file_actions=[(os.POSIX_SPAWN_DUP2, reading, 0)], setsid=True)
    os.close(reading)


def remove_at_the_end(folder: Path) -> None:
    """Have the watchdog of this process remove a folder, where that is still there."""
    if _pipe is not None:
        os.write(_pipe, f"{folder}\n".encode())


def _watch(parent: int, mark: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.chdir("/")
    told = b"".join(_told(parent))
    _end_processes(mark)
    for folder in told.decode().splitlines():
        shutil.rmtree(folder, ignore_errors=True)


def _told(parent: int) -> Iterator[bytes]:
    """What the test process writes, until it is gone; a fork of it may hold the pipe open for longer."""
    while True:
        readable, _, _ = select.select([0], [], [], 0.5)
        if readable:
            part = os.read(0, 4096)
            if not part:
                return
            yield part
        elif os.getppid() != parent:
            return


def _end_processes(mark: str) -> None:
    import psutil

    for number, seconds in _PATIENCE.items():
        while found := list(_marked(mark)):  # again, since one of them may have started another one
            for process in found:
                try:
                    process.send_signal(number)
                except psutil.NoSuchProcess:
                    continue
            _, alive = psutil.wait_procs(found, timeout=seconds)
            if alive:
                break


def _marked(mark: str) -> Iterator[psutil.Process]:
    import psutil

    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                yield process
        except (psutil.Error, OSError):  # it has ended, or is another user's
            continue


if __name__ == "__main__":
    _watch(int(sys.argv[1]), sys.argv[2])
