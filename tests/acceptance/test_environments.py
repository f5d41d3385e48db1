"""The product where little can be relied on: no variables, long or odd paths, odd time zones, users without a name."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from conftest import prepare_loans
from main_job import assert_scored_once_and_as_by_hand, first_day
from support import DATA, Workspace

from batch_scoring.login import login
from batch_scoring.model.training import TrainedModel
from batch_scoring.scoring import model_process
from batch_scoring.scoring.engines import choice as engines


def _bare(workspace: Workspace, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """A command in an environment that holds what it is given and the addresses of the workspace."""
    own = {name: value for name, value in workspace.process_environ.items() if name.startswith("BATCH_SCORING_")}
    return subprocess.run(
        [sys.executable, "-m", "batch_scoring", *arguments],
        cwd=workspace.folder,
        env={**own, **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "environ",
    [
        {},
        {
            "HOME": "/nonexistent",
            "LC_ALL": "de_DE.ISO-8859-1",
            "LOGNAME": os.fsdecode(b"M\xfcller"),
            "PGTZ": "America/St_Johns",
            "TZ": "Asia/Kathmandu",
        },
    ],
    ids=["nothing", "another-country"],
)
def test_a_run_needs_no_variable_of_the_environment_and_heeds_none_of_others(
    loan_workspace: Workspace, environ: dict[str, str]
) -> None:
    done = _bare(loan_workspace, "run", "loan_eligibility", **environ)

    assert done.returncode == 0, done.stderr
    assert loan_workspace.scalar("SELECT count(*) FROM predictions_current") == 367
    seconds = loan_workspace.words.seconds_since.format(time="scored_at")
    assert loan_workspace.scalar(f"SELECT max(abs({seconds})) FROM predictions_current") < 600, "whatever the zone"


@pytest.mark.slow
def test_the_main_job_works_in_a_folder_with_spaces_and_letters_of_other_languages(tmp_path: Path) -> None:
    folder = tmp_path / "Größe und más 数据"
    folder.mkdir()
    workspace = first_day(Workspace(folder, f"sqlite:///{folder / 'loans.db'}"), DATA)

    assert workspace.cli_json("run", "loan_eligibility")["scored_count"] == 367
    assert_scored_once_and_as_by_hand(workspace, DATA)


@pytest.mark.slow
def test_what_the_demo_says_to_type_works_in_a_folder_with_spaces(sqlite_workspace: Workspace) -> None:
    folder = sqlite_workspace.folder / "a folder's name"

    shown = sqlite_workspace.cli("demo", "--folder", str(folder))

    assert shown.returncode == 0, shown.stderr
    *_, change, export, _ = shown.stdout.rstrip().splitlines()
    typed = f'{change}\n{export}\npwd; echo "$BATCH_SCORING_DATABASE_URL"'
    done = subprocess.run(["/bin/sh", "-eu"], input=typed, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [str(folder), f"sqlite:///{folder}/batch_scoring.db"], done.stderr


def test_the_login_is_text_that_a_database_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", os.fsdecode(b"M\xfcller"))
    assert login() == "M\\udcfcller"
    monkeypatch.setenv("LOGNAME", "x" * 3000)
    assert login() == "x" * 255


def test_a_user_without_a_name_is_known_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)

    def nobody(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", nobody)

    assert login() == str(os.getuid())


@pytest.mark.slow
def test_a_long_temporary_folder_does_not_keep_a_run_from_scoring_in_isolation(
    sqlite_workspace: Workspace,
    loan_model: TrainedModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    long = sqlite_workspace.folder / ("t" * 120)
    long.mkdir()
    prepare_loans(sqlite_workspace, loan_model)
    monkeypatch.setattr(engines, "CRASHES_BEFORE_ISOLATION", 0)
    monkeypatch.setattr(tempfile, "tempdir", str(long))

    assert model_process._context().get_start_method() == "spawn"
    assert sqlite_workspace.run().scored_count == 367
