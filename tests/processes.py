"""Processes forked from a server that has the libraries loaded: each command of the tests is spared their import."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

_PRELOADED = [
    "alembic.command",
    "batch_scoring.cli.app",
    "batch_scoring.cli.help",
    "batch_scoring.domain.job_files",
    "batch_scoring.files.frame",
    "batch_scoring.model.describe",
    "batch_scoring.model.training",
    "batch_scoring.monitoring.check",
    "batch_scoring.monitoring.evaluation",
    "batch_scoring.monitoring.health",
    "batch_scoring.monitoring.monitor",
    "batch_scoring.operations.preview",
    "batch_scoring.registry.promotion",
    "batch_scoring.registry.registration",
    "batch_scoring.registry.training",
    "batch_scoring.scoring.chunk",
    "batch_scoring.scoring.engines.python",
    "batch_scoring.scoring.pipeline",
    "batch_scoring.scoring.runner",
    "batch_scoring.sinks.drift",
    "batch_scoring.sinks.log",
    "batch_scoring.sinks.metrics_file",
    "batch_scoring.sinks.notifier",
    "batch_scoring.store.bulk.postgresql",
    "batch_scoring.store.bulk.sqlite",
    "batch_scoring.store.schema.upgrade",
    "batch_scoring.store.source.loading",
    "cronsim",
    "narwhals",
    "rich.console",
    "rich.table",
    "sqlalchemy.dialects.postgresql.psycopg2",
    "sqlalchemy.dialects.sqlite.pysqlite",
    "frozen_heap",
]


def forks() -> Any:
    """Makes processes that begin as interpreters which have imported the package, and nothing of the tests' state."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


def forget_server() -> None:
    """In a process that was forked by a test: the server, if one is running, is no child of this process."""
    forkserver._forkserver.__init__()  # type: ignore[misc]


def _carry_out(arguments: tuple[str, ...], folder: str, environ: dict[str, str], printed: Path) -> None:
    from batch_scoring.cli import main

    for number, suffix, mode in ((0, ".in", os.O_RDONLY), (1, ".out", os.O_WRONLY), (2, ".err", os.O_WRONLY)):
        os.dup2(os.open(printed.with_suffix(suffix), mode), number)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    sys.path += filter(None, environ.get("PYTHONPATH", "").split(os.pathsep))
    sys.argv = ["batch-scoring", *arguments]
    main()


class Command:
    """A command under way, to be used like a Popen. What it reads and prints are files, so nobody need wait for it."""

    def __init__(
        self, arguments: tuple[str, ...], *, folder: Path, environ: dict[str, str], stdin: bytes, printed: Path
    ) -> None:
        printed.with_suffix(".in").write_bytes(stdin)
        for suffix in (".out", ".err"):
            printed.with_suffix(suffix).touch()
        self.args = arguments
        self._printed = printed
        self._process = forks().Process(target=_carry_out, args=(arguments, str(folder), environ, printed))
        self._process.start()
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        code: int | None = self._process.exitcode
        return code

    def send_signal(self, number: signal.Signals) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end and return what it printed."""
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        out, err = (self._printed.with_suffix(suffix).read_text(encoding="utf-8") for suffix in (".out", ".err"))
        return out, err
