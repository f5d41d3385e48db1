"""crontab.example under a real cron daemon: installed by `crontab`, started on the minute, in cron's environment."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from conftest import prepare_loans
from environment import program
from faults import (
    assert_counters_equal_rows,
    assert_each_applicant_has_one_current_prediction_of_its_present_version,
)
from support import REPOSITORY, Workspace, wait_until

from batch_scoring.model.training import TrainedModel

_DAEMONS = ("cron", "crond")
_PID_FILE = Path("/var/run/crond.pid")
_SYSLOG = Path("/dev/log")

_PATIENCE_SECONDS = 130
"""The next minute begins, and another one is left for a machine that is busy."""


def _processes() -> Iterator[Path]:
    return (folder for folder in Path("/proc").iterdir() if folder.name.isdigit())


def _why_not() -> str | None:
    """Why no daemon may be started here."""
    if os.geteuid() != 0:
        return "cron is started by root"
    for folder in _processes():
        with suppress(OSError):  # it is gone
            name, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
            if name in _DAEMONS and rest.split()[0] != "Z":
                return f"another cron daemon is running, process {folder.name}"
    return None


@pytest.fixture
def cron() -> str:
    """The daemon's program."""
    why_not = _why_not()
    if why_not is not None:
        pytest.skip(why_not)
    program("crontab", "cron")
    return program("cron", "cron")


def _prepared(folder: Path, database_url: str, model: TrainedModel) -> Workspace:
    """A project folder such as the example expects; every applicant was scored once and has changed since."""
    folder.mkdir()
    workspace = prepare_loans(Workspace(folder, database_url), model)
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "batch-scoring").symlink_to(Path(sys.executable).parent / "batch-scoring")
    workspace.run()
    workspace.sql("UPDATE applicants SET updated_at = '2026-02-02 00:00:00.000000'")
    return workspace


def _adapted(workspace: Workspace) -> str:
    """The example with the folders of a workspace, every minute."""
    text = (REPOSITORY / "crontab.example").read_text(encoding="utf-8")
    lock = workspace.folder / "loan_eligibility.lock"
    own = {"APP": workspace.folder, "DATABASE_URL": workspace.database_url, "LOG": _log(workspace), "LOCK": lock}
    for name, value in own.items():
        text, count = re.subn(rf"^{name}=.*$", f"{name}={value}", text, flags=re.MULTILINE)
        assert count == 1, name
    text, count = re.subn(r"^[*/0-9]+ \* \* \* \* ", "* * * * * ", text, flags=re.MULTILINE)
    assert count == 2, "a run and a look at the health"
    return text


def _log(workspace: Workspace) -> Path:
    return workspace.folder / "batch_scoring.log"


class _Syslog:
    """What cron and logger(1) send to the machine's log, where the machine has none itself."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self.is_ours = not _SYSLOG.exists()
        self.text = ""
        if self.is_ours:
            self._socket.bind(str(_SYSLOG))

    def read(self) -> str:
        """All there was until now."""
        with suppress(BlockingIOError):
            while self.is_ours:
                self.text += self._socket.recv(8192).decode() + "\n"
        return self.text

    def close(self) -> None:
        self.read()
        self._socket.close()
        if self.is_ours:
            _SYSLOG.unlink()


@contextmanager
def _installed(crontab: str, file: Path) -> Iterator[None]:
    """Root's crontab while the block lasts; the one before is put back."""
    before = subprocess.run(["crontab", "-l"], capture_output=True, text=True, check=False)
    file.write_text(crontab, encoding="utf-8")
    try:
        subprocess.run(["crontab", str(file)], check=True)
        yield
    finally:
        if before.returncode == 0:
            subprocess.run(["crontab", "-"], input=before.stdout, text=True, check=True)
        else:
            subprocess.run(["crontab", "-r"], check=True)


@contextmanager
def _running(cron: str, workspaces: Sequence[Workspace]) -> Iterator[subprocess.Popen[str]]:
    """The daemon while the block lasts; nothing of it is left, nor of what it started."""
    had_pid_file = _PID_FILE.exists()
    daemon = subprocess.Popen([cron, "-f"], cwd="/", stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        yield daemon
    finally:
        daemon.kill()
        daemon.communicate()
        for process_id in _started(daemon.pid, workspaces):
            with suppress(ProcessLookupError):
                os.kill(process_id, signal.SIGKILL)
        if not had_pid_file:
            _PID_FILE.unlink(missing_ok=True)
        wait_until(lambda: not _started(daemon.pid, workspaces))


def _started(daemon: int, workspaces: Sequence[Workspace]) -> list[int]:
    """The daemon's children, which are of its session, and the commands, which have sessions of their own."""
    marks = {f"APP={workspace.folder}".encode() for workspace in workspaces}
    found = []
    for folder in _processes():
        with suppress(OSError):  # it is gone
            state, _, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            environ = set((folder / "environ").read_bytes().split(b"\0"))
            if state != "Z" and (int(session) == daemon or marks & environ):
                found.append(int(folder.name))
    return found


def _said(workspace: Workspace) -> str:
    log = _log(workspace)
    return log.read_text(encoding="utf-8") if log.exists() else ""


@pytest.mark.slow
def test_a_real_cron_runs_the_example(
    cron: str, tmp_path: Path, sqlite_url: str, postgresql_url: str, loan_model: TrainedModel
) -> None:
    sound = [
        _prepared(tmp_path / "embedded", sqlite_url, loan_model),
        _prepared(tmp_path / "server", postgresql_url, loan_model),
    ]
    broken = _prepared(tmp_path / "broken", f"sqlite:///{tmp_path / 'broken.db'}", loan_model)
    (artifact,) = (broken.artifacts_dir / "loan_eligibility").glob("*.joblib")
    artifact.unlink()
    environment = tmp_path / "environment"
    # variables hold for the lines below them, so one crontab can hold the example several times
    crontab = "\n".join([*map(_adapted, [*sound, broken]), f"* * * * * env >{environment}\n"])

    with ExitStack() as stack:
        syslog = _Syslog()
        stack.callback(syslog.close)
        stack.enter_context(_installed(crontab, tmp_path / "crontab"))
        daemon = stack.enter_context(_running(cron, [*sound, broken]))

        def is_done() -> bool:
            assert daemon.poll() is None, "the daemon ended"
            is_reported = "is unhealthy" in syslog.read() or not syslog.is_ours
            return is_reported and all(
                "run_finished" in said and "last success" in said for said in map(_said, [*sound, broken])
            )

        wait_until(is_done, seconds=_PATIENCE_SECONDS)

    for workspace in sound:
        said = _said(workspace)
        assert "367 scored, 367 superseded, 0 quarantined" in said
        assert "unhealthy" not in said
        assert "error" not in said.replace('"error_type": null, "error": null', "")
        runs = workspace.query("SELECT trigger, status, scored_count FROM run_history ORDER BY run_id")
        assert runs[:2] == [("cli", "succeeded", 367)] * 2
        assert {scored for _, _, scored in runs[2:]} <= {0}, "another minute began"
        assert_counters_equal_rows(workspace)
        assert_each_applicant_has_one_current_prediction_of_its_present_version(workspace)

    failed = broken.query("SELECT status, error_type FROM scoring_runs WHERE run_id = 2")
    assert failed == [("failed", "ArtifactMissing")]
    said = _said(broken)
    assert '"status": "failed"' in said
    why = r"^loan_eligibility: the artifact artifacts/\S+ cannot be read"
    assert re.search(why, said, re.MULTILINE), "for whatever watches this log"
    assert broken.scalar("SELECT count(*) FROM predictions") == 367, "what stood there stays"
    if syslog.is_ours:
        assert f"batch_scoring: loan_eligibility is unhealthy, see {_log(broken)}" in syslog.text
        assert not [workspace for workspace in sound if f"see {_log(workspace)}" in syslog.text]

    given = dict(line.split("=", 1) for line in environment.read_text().splitlines())
    assert given["PATH"] == "/usr/bin:/bin"
    assert not [name for name in given if name.startswith(("LC_", "LANG", "BATCH_SCORING_", "VIRTUAL_ENV"))]
    assert Path.cwd() != Path(given["PWD"]) == Path(given["HOME"])
