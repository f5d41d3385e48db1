"""A test run that is interrupted leaves no server, no process and no folder behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from environment import leave_out
from support import REPOSITORY, wait_until

_WAITING = """
import signal
import subprocess
import sys
from pathlib import Path

from processes import forks


def test_waits(postgres):
    detached = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    forked = forks().Process(target=signal.pause)
    forked.start()
    Path(__file__).with_name("folder").write_text(str(postgres.socket_dir))
    while True:
        signal.pause()
"""

_PYTEST = """
import signal
import sys

import pytest

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what it starts in the background
sys.exit(pytest.main(sys.argv[1:]))
"""

_RUN = "ONE_RUN_OF_TESTS"
"""A variable that every process of the inner run inherits, its watchdogs included."""


@pytest.fixture
def mark() -> Iterator[str]:
    """The value of the variable; nothing that carries it outlives the test."""
    value = uuid.uuid4().hex
    yield value
    for process in _processes(value):
        process.kill()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "workers"),
    [(signal.SIGINT, 1), (signal.SIGTERM, 1), (signal.SIGKILL, 1), (signal.SIGKILL, 0)],
    ids=lambda value: str(getattr(value, "name", value)),
)
def test_an_interrupted_test_run_leaves_no_server_no_process_and_no_folder(
    tmp_path: Path, mark: str, number: signal.Signals, workers: int
) -> None:
    (tmp_path / "test_waiting.py").write_text(_WAITING)
    told = tmp_path / "folder"
    options = ["-n", str(workers), "-c", str(REPOSITORY / "pyproject.toml"), "-p", "conftest", "-p", "no:cacheprovider"]
    with (tmp_path / "printed").open("wb") as printed:
        run = subprocess.Popen(
            [sys.executable, "-c", _PYTEST, *options, str(tmp_path / "test_waiting.py")],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY / "tests"), _RUN: mark},
            stdout=printed,
            stderr=printed,
            process_group=0,
        )
    wait_until(lambda: run.poll() is not None or (told.exists() and told.read_text()), seconds=120)
    if not told.exists():
        leave_out(f"the tests did not start: {(tmp_path / 'printed').read_text()}")
    folder = Path(told.read_text())
    assert (folder / "postmaster.pid").exists()

    _end(run, number)

    wait_until(lambda: not list(_processes(mark)), seconds=60)
    assert not folder.exists()
    assert not [process for process in psutil.process_iter() if _names(process, folder)]


def _end(run: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Signal a run of tests until it has ended; Python discards an interrupt that arrives in a finalizer."""
    try:
        for _ in range(4):
            if number is signal.SIGINT:
                os.killpg(run.pid, number)  # as a terminal does
            else:
                run.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                run.wait(20)
                return
        pytest.fail(f"the run of tests does not end by {number.name}")
    finally:
        run.kill()
        run.wait()


def _processes(mark: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        try:
            if process.environ().get(_RUN) == mark and process.status() != psutil.STATUS_ZOMBIE:
                yield process
        except (psutil.Error, OSError):
            continue


def _names(process: psutil.Process, folder: Path) -> bool:
    try:
        return any(str(folder) in part for part in process.cmdline())
    except psutil.Error:
        return False
