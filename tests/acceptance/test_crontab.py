"""The lines of crontab.example, run as cron runs them: by /bin/sh, in a bare environment, from the home folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import prepare_loans
from environment import program
from support import REPOSITORY, Workspace

from batch_scoring.model.training import TrainedModel


def _crontab() -> tuple[dict[str, str], list[str]]:
    """The variables the example sets, and the commands of its lines."""
    variables: dict[str, str] = {}
    commands = []
    for line in (REPOSITORY / "crontab.example").read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if equals and name.isidentifier():
            variables[name] = value.strip('"')
        else:
            commands.append(line.split(maxsplit=5)[5])
    return variables, commands


@pytest.fixture
def cron(sqlite_workspace: Workspace, loan_model: TrainedModel) -> Workspace:
    workspace = prepare_loans(sqlite_workspace, loan_model)
    programs = workspace.folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "batch-scoring").symlink_to(Path(sys.executable).parent / "batch-scoring")
    return workspace


def _as_cron_does(workspace: Workspace, command: str) -> subprocess.CompletedProcess[str]:
    variables, _ = _crontab()
    own = {
        "APP": str(workspace.folder),
        "DATABASE_URL": workspace.database_url,
        "LOG": f"{workspace.folder}/log",
        "LOCK": f"{workspace.folder}/loan_eligibility.lock",
    }
    assert set(own) <= set(variables)
    bare = {"HOME": "/", "LOGNAME": "root", "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        ["/bin/sh", "-c", command],
        cwd="/",
        env={**bare, **variables, **own},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_the_lines_work_as_they_stand_in_the_environment_cron_gives(cron: Workspace) -> None:
    _, (run, status) = _crontab()
    assert "%" not in run + status, "cron reads a percent sign as a line break"

    scored = _as_cron_does(cron, run)
    assert scored.returncode == 0, (cron.folder / "log").read_text()
    assert (scored.stdout, scored.stderr) == ("", ""), "cron would mail it"
    assert cron.scalar("SELECT count(*) FROM predictions_current") == 367
    assert "run_finished" in (cron.folder / "log").read_text()

    assert _as_cron_does(cron, status).returncode == 0


def test_a_run_that_overlaps_the_one_before_ends_with_code_75(cron: Workspace) -> None:
    _, (run, _) = _crontab()
    lock = cron.folder / "loan_eligibility.lock"
    with subprocess.Popen(
        [program("flock", "util-linux"), str(lock), "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdin.write(b"locked\n")
        holder.stdin.flush()
        holder.stdout.read(1)
        assert _as_cron_does(cron, run).returncode == 75
        holder.stdin.close()
    assert cron.scalar("SELECT count(*) FROM scoring_runs") == 0
