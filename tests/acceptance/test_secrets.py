"""Passwords, against a real server: what commands print and runs record of an address that holds one."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from conftest import prepare_loans
from support import LOAN_JOB, PostgresServer, Workspace

from batch_scoring.model.training import TrainedModel

JOB = "loan_eligibility"
PASSWORD = "Win7@QXZ4/JKV8#W0Z1?X3:Q5%V6&="
PIECES = ("QXZ4", "JKV8", "W0Z1", "Win7")

COMMANDS = (
    "db upgrade",
    "check",
    "status",
    f"run {JOB}",
    f"run {JOB} --scheduled-for 2026-07-01T12:00:00Z",
    "runs list",
    f"why {JOB} LP001015",
    f"purge {JOB} --superseded-before 2020-01-01 --reason test --yes",
)


@dataclass(frozen=True, kw_only=True)
class Locked:
    """A role that the server asks for its password."""

    server: PostgresServer
    role: str
    database: str

    def url(self, password: str) -> str:
        return self.server.url(self.database, user=self.role, password=password)


@pytest.fixture
def locked(postgres: PostgresServer) -> Iterator[Locked]:
    role = f"locked_{uuid.uuid4().hex[:12]}"
    database = sa.make_url(postgres.create_database()).database or ""
    access = Path(postgres.socket_dir) / "pg_hba.conf"
    before = access.read_text(encoding="utf-8")
    postgres.execute(f"CREATE ROLE {role} LOGIN SUPERUSER PASSWORD '{PASSWORD.replace('%', '%%')}'")
    access.write_text(f"local all {role} scram-sha-256\n{before}", encoding="utf-8")
    postgres.execute("SELECT pg_reload_conf()")
    yield Locked(server=postgres, role=role, database=database)
    access.write_text(before, encoding="utf-8")
    postgres.execute("SELECT pg_reload_conf()")


def assert_silent(text: str) -> None:
    for piece in PIECES:
        assert piece not in text
    assert "Traceback" not in text


@pytest.mark.parametrize("is_json", [False, True])
def test_a_server_that_refuses_a_password_is_reported_without_a_piece_of_it(
    tmp_path: Path, locked: Locked, is_json: bool
) -> None:
    workspace = Workspace(tmp_path, locked.url(quote("x" + PASSWORD, safe="")))
    workspace.write_job(JOB, LOAN_JOB)
    for command in COMMANDS:
        done = workspace.cli(*command.split(), *(["--json"] if is_json else []))
        assert done.returncode in (1, 2, 5), done.stderr
        assert "password authentication failed for user" in done.stderr + done.stdout
        assert_silent(done.stderr + done.stdout)
        if is_json:
            json.loads(done.stdout)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://scorer:{escaped}@127.0.0.1:1/lending", "Connection refused"),
        ("postgresql://scorer:{escaped}@no-such-host.invalid/lending", "could not translate host name"),
        ("postgresql://scorer:{escaped}@/lending?host=/nowhere", "No such file or directory"),
        ("postgresql://scorer:{raw}@127.0.0.1:1/lending", "%40 for @"),
        ("postgresql://127.0.0.1:1/lending?user=scorer&password={raw}", "%40 for @"),
        ("postgresql://127.0.0.1:1/lending?user=scorer&password={escaped}", "Connection refused"),
    ],
)
def test_the_reason_of_the_driver_is_reported_without_a_piece_of_the_password(
    sqlite_workspace: Workspace, url: str, words: str
) -> None:
    workspace = sqlite_workspace
    workspace.write_job(JOB, LOAN_JOB)
    workspace.database_url = url.format(raw=PASSWORD, escaped=quote(PASSWORD, safe=""))
    for command in COMMANDS[:4]:
        done = workspace.cli(*command.split())
        assert done.returncode in (1, 2, 5)
        assert words in done.stderr + done.stdout
        assert_silent(done.stderr + done.stdout)


@pytest.mark.slow
def test_a_run_with_a_password_records_and_prints_no_piece_of_it(
    tmp_path: Path, locked: Locked, loan_model: TrainedModel
) -> None:
    workspace = prepare_loans(Workspace(tmp_path, locked.url(quote(PASSWORD, safe=""))), loan_model)
    workspace.environ["BATCH_SCORING_METRICS_DIR"] = str(tmp_path)
    printed = [workspace.cli(*command.split()) for command in (*COMMANDS[1:], f"run {JOB} --workers 2", "runs show 1")]
    assert [done.returncode for done in printed] == [0] * len(printed)
    records = workspace.query("SELECT * FROM scoring_runs")
    for text in [*(done.stdout + done.stderr for done in printed), repr(records)]:
        assert_silent(text)
    assert (tmp_path / f"batch_scoring_{JOB}.prom").is_file()
    for file in tmp_path.glob("*.prom"):
        assert_silent(file.read_text(encoding="utf-8"))
