"""Every command once: what it prints for a person, what it prints for a program, and the code it ends with."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
import pytest
import sqlalchemy as sa
import typer
from commands import events
from conftest import prepare_loans
from schemas import apply_script
from support import DATA, LOAN_JOB, Workspace

from batch_scoring import __version__
from batch_scoring.cli.app import app
from batch_scoring.errors import SourceFault
from batch_scoring.model.training import TrainedModel
from batch_scoring.registry.promotion import Promoter

NAME = "loan_eligibility"


def paths(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command and group of commands, by the words that call it."""
    yield path
    for name, inner in sorted(getattr(command, "commands", {}).items()):
        yield from paths(inner, (*path, name))


COMMANDS = list(paths(typer.main.get_command(app)))


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory, loan_model: TrainedModel) -> Workspace:
    """The loan job after one run. Tests read from it and change nothing."""
    folder = tmp_path_factory.mktemp("ready")
    workspace = prepare_loans(Workspace(folder, f"sqlite:///{folder}/test.db"), loan_model)
    workspace.run()
    return workspace


def imported(stderr: str) -> set[str]:
    """Packages that ``-X importtime`` reports."""
    modules = re.findall(r"^import time:\s+\d+ \|\s+\d+ \|\s+([\w.]+)$", stderr, flags=re.MULTILINE)
    return {name.partition(".")[0] for name in modules}


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: " ".join(path) or "(root)")
def test_each_command_explains_itself_and_its_options(sqlite_workspace: Workspace, path: tuple[str, ...]) -> None:
    done = sqlite_workspace.cli(*path, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    usage, *rest = [line for line in done.stdout.splitlines() if line.strip()]
    assert " ".join(usage.split()).startswith(" ".join(("Usage: batch-scoring", *path)))
    assert rest[0].strip().endswith((".", ":", "?")) or len(rest[0]) > 40, "it says what the command does"
    for line in rest:
        option = re.match(r"  (?:-\w, )?(--[\w-]+)(?: [A-Z|a-z\[\]]+)?  +(.*)$", line)
        if option is not None:
            assert re.search(r"[a-z]{3,}", option[2]), f"{option[1]} is explained"


def test_help_loads_none_of_the_heavy_libraries(sqlite_workspace: Workspace) -> None:
    sqlite_workspace.environ["PYTHONPROFILEIMPORTTIME"] = "1"
    for arguments in (["--help"], ["run", "--help"], ["--version"]):
        done = sqlite_workspace.cli_anew(*arguments)
        assert done.returncode == 0
        found = imported(done.stderr)
        assert "batch_scoring" in found
        assert not found & {"sklearn", "pandas", "pyarrow", "numpy", "sqlalchemy", "alembic"}


def test_the_version_is_that_of_the_package(sqlite_workspace: Workspace) -> None:
    done = sqlite_workspace.cli_anew("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"batch-scoring {__version__}\n", "")


def test_without_a_command_the_help_is_shown(sqlite_workspace: Workspace) -> None:
    done = sqlite_workspace.cli_anew()
    assert done.returncode == 2
    assert "Usage: python -m batch_scoring" in done.stdout + done.stderr
    assert "Score every due row" in done.stdout + done.stderr


def by_key(found: Any, **wanted: Any) -> bool:
    """Whether a record has these values."""
    return {key: found[key] for key in wanted} == wanted


@dataclass(frozen=True)
class Printed:
    """What a command is to print: words for a person, and what holds for its JSON."""

    arguments: str
    words: tuple[str, ...]
    holds: Callable[[Any], bool]


READING = [
    Printed(
        "check",
        ("ok       database: sqlite:///", "ok       job loan_eligibility:", "its artifact is intact"),
        lambda found: len(found) == 4 and not any(finding["error"] for finding in found),
    ),
    Printed(
        "db upgrade",
        ("schema already at revision",),
        lambda found: found["revision_before"] == found["revision"] and found["created"] == [],
    ),
    Printed(
        "model list",
        ("loan_eligibility", "champion", "binary", "LogisticRegression"),
        lambda found: by_key(found[0], name=NAME, version=1, aliases=["champion"], kind="binary") and len(found) == 1,
    ),
    Printed(
        "model show loan_eligibility 1",
        ("loan_eligibility version 1", "SHA-256", "golden rows", "Property_Area", "Rural, Semiurban, Urban", "N, Y"),
        lambda found: by_key(found, name=NAME, version=1) and len(found["artifact_sha256"]) == 64,
    ),
    Printed(
        "model verify loan_eligibility",
        ("loan_eligibility version 1 is intact", "20 golden rows reproduced"),
        lambda found: by_key(found, golden_rows=20, version_difference=None),
    ),
    Printed(
        "runs list",
        (NAME, "succeeded", "367", "loan_eligibility v1"),
        lambda found: by_key(found[0], run_id=1, status="succeeded", scored_count=367) and len(found) == 1,
    ),
    Printed("runs list --status failed", ("run", "status"), lambda found: found == []),
    Printed(
        "runs show 1",
        ("scored_count", "367", "artifact_sha256", "scikit-learn", "chunk_rows"),
        lambda found: by_key(found, run_id=1, due_count=367, trigger="cli") and "scikit-learn" in found["environment"],
    ),
    Printed(
        "status",
        (NAME, "ok", "367"),
        lambda found: by_key(found[0], job=NAME, due_count=0, current_count=367, quarantined_count=0, unhealthy=None),
    ),
    Printed(
        "status loan_eligibility --max-age 1h",
        (NAME, "ok"),
        lambda found: found[0]["last_success"]["run_id"] == 1 and 0 <= found[0]["last_success_age"] < 3600,
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("printed", READING, ids=lambda printed: printed.arguments)
def test_a_result_is_readable_and_as_json_it_is_parseable_and_alone(ready: Workspace, printed: Printed) -> None:
    shown = ready.cli(*printed.arguments.split())
    assert (shown.returncode, shown.stderr) == (0, "")
    for word in printed.words:
        assert word in shown.stdout

    parsed = ready.cli(*printed.arguments.split(), "--json")
    assert (parsed.returncode, parsed.stderr) == (0, "")
    assert printed.holds(json.loads(parsed.stdout)), parsed.stdout


def test_runs_alone_lists_them(ready: Workspace) -> None:
    assert ready.cli("runs").stdout == ready.cli("runs", "list").stdout


def test_load_says_what_it_did(workspace: Workspace) -> None:
    arguments = ("load", "applicants", str(DATA / "loan_test.csv"), "--key", "Loan_ID")
    first = workspace.cli(*arguments)
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout == "applicants: created, 367 rows read, 367 inserted, 0 updated, 0 unchanged\n"
    again = workspace.cli_json(*arguments)
    assert again == {"table": "applicants", "read": 367, "inserted": 0, "updated": 0, "created": False}


@pytest.mark.slow
def test_train_says_what_it_registered_and_how_good_it_is(sqlite_workspace: Workspace) -> None:
    sqlite_workspace.write_job(NAME, LOAN_JOB)
    sqlite_workspace.upgrade()
    data = ("--data", str(DATA / "loan_train.csv"), "--label", "Loan_Status")
    train = ("train", NAME, *data, "--algorithm", "decision_tree")
    trained = sqlite_workspace.cli(*train)
    assert trained.returncode == 0
    assert [event["event"] for event in events(trained.stderr)] == ["model_registered", "model_promoted"]
    for word in ("registered loan_eligibility version 1: loan_eligibility/", "10-fold accuracy", "confusion matrix"):
        assert word in trained.stdout
    version = sqlite_workspace.cli_json(*train)
    assert (version["version"], version["manifest"]["algorithm"]) == (2, "DecisionTreeClassifier")
    assert 0.75 < version["manifest"]["metrics"]["cross_validation"]["accuracy"] < 0.85


def test_register_says_what_it_registered(sqlite_workspace: Workspace, loan_model: TrainedModel) -> None:
    sqlite_workspace.upgrade()
    joblib.dump(loan_model.pipeline, sqlite_workspace.folder / "model.joblib")
    loan_model.features.to_csv(sqlite_workspace.folder / "sample.csv", index=False)
    registered = sqlite_workspace.cli("model", "register", "model.joblib", "--name", "any", "--sample", "sample.csv")
    assert registered.returncode == 0
    assert [event["event"] for event in events(registered.stderr)] == ["model_registered", "model_promoted"]
    assert re.fullmatch(r"registered any version 1: any/[0-9a-f]{16}\.joblib\n", registered.stdout)


@pytest.mark.slow
def test_run_prints_its_record_on_stdout_and_its_events_on_stderr(
    loan_workspace: Workspace,
) -> None:
    done = loan_workspace.cli("run", NAME, "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert by_key(record, run_id=1, job=NAME, status="succeeded", scored_count=367, model_version=1)
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert [event["event"] for event in events] == ["run_started", "run_planned", "chunk_committed", "run_finished"]
    assert {event["job"] for event in events} == {NAME}

    loan_workspace.environ["BATCH_SCORING_LOG_FORMAT"] = "console"
    again = loan_workspace.cli("run", NAME)
    assert again.stdout == "run 2 of loan_eligibility: nothing was due\n"
    assert "run_finished" in again.stderr
    assert "{" not in again.stderr
    assert "\x1b" not in again.stderr + again.stdout, "no colours in a file"


@pytest.mark.slow
def test_demo_shows_the_main_job_and_what_to_type_next(sqlite_workspace: Workspace) -> None:
    done = sqlite_workspace.cli("demo", "--folder", "shown")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    for word in ("The runs:", "FROM predictions_current", "Continue manually:", "export BATCH_SCORING_DATABASE_URL="):
        assert word in done.stdout
    assert (sqlite_workspace.folder / "shown" / "batch_scoring.db").is_file()
    assert [path.name for path in sqlite_workspace.artifacts_dir.iterdir()] == [], "the settings' folders stay as is"


def test_check_finds_several_problems_at_once_and_starts_nothing(loan_workspace: Workspace) -> None:
    jobs = loan_workspace.jobs_dir
    (jobs / "broken.toml").write_text("[source", encoding="utf-8")
    (jobs / "faulty.toml").write_text(LOAN_JOB.replace("threshold = 0.5", "threshold = 2"), encoding="utf-8")
    elsewhere = LOAN_JOB.replace('table = "predictions"', 'table = "others"')
    loan_workspace.write_job("lost", elsewhere.replace('table = "applicants"', 'table = "nowhere"'))
    unknown = LOAN_JOB.replace('name = "loan_eligibility"', 'name = "unheard_of"')
    loan_workspace.write_job("unmodelled", unknown.replace('table = "predictions"', 'table = "more"'))
    (artifact,) = (loan_workspace.artifacts_dir / NAME).glob("*.joblib")
    artifact.write_bytes(b"something else")

    done = loan_workspace.cli("check")

    assert done.returncode == 2, "that of the first error"
    errors = [line for line in done.stdout.splitlines() if line.startswith("error")]
    for words in (
        "broken.toml: is not valid TOML",
        "faulty.toml: predictions.threshold",
        "job lost: job lost: there is no table or view nowhere",
        "model unheard_of: model unheard_of has no champion",
        "is not the registered one",
    ):
        assert [line for line in errors if words.removeprefix("job lost: ") in line], words
    assert "Traceback" not in done.stderr
    found = json.loads(loan_workspace.cli("check", "--json").stdout)
    assert sum(finding["error"] for finding in found) == len(errors) >= 5
    assert loan_workspace.scalar("SELECT count(*) FROM scoring_runs") == 0


def test_check_ends_with_3_where_only_the_model_is_at_fault(loan_workspace: Workspace) -> None:
    loan_workspace.sql("DELETE FROM model_promotions")
    done = loan_workspace.cli("check")
    assert done.returncode == 3
    assert "ok       job loan_eligibility" in done.stdout
    assert "error    model loan_eligibility: model loan_eligibility has no champion" in done.stdout


def test_check_names_a_folder_without_jobs(sqlite_workspace: Workspace) -> None:
    sqlite_workspace.upgrade()
    done = sqlite_workspace.cli("check")
    assert done.returncode == 2
    assert f"{sqlite_workspace.jobs_dir}: contains no job files" in done.stdout


def test_the_printed_sql_makes_the_schema_that_a_run_needs(workspace: Workspace, loan_model: TrainedModel) -> None:
    from batch_scoring.store.source.loading import load_csv

    workspace.write_job(NAME, LOAN_JOB)
    with workspace.database() as database:
        load_csv(database, "applicants", DATA / "loan_test.csv", key=["Loan_ID"])

    done = workspace.cli("db", "sql", "--dialect", workspace.dialect.name)

    assert (done.returncode, done.stderr) == (0, "")
    apply_script(workspace.database_url, done.stdout)
    workspace.register(loan_model.pipeline, loan_model.features)
    assert workspace.run().scored_count == 367
    assert workspace.cli("check").returncode == 0


def test_db_sql_prints_both_dialects_and_names_what_it_leaves_out(workspace: Workspace) -> None:
    workspace.write_job(NAME, LOAN_JOB)
    workspace.sql('CREATE TABLE applicants ("Loan_ID" VARCHAR(20) PRIMARY KEY, updated_at TIMESTAMP)')
    workspace.write_job("lost", LOAN_JOB.replace('"applicants"', '"nowhere"').replace('"predictions"', '"others"'))
    done = workspace.cli("db", "sql")
    assert done.returncode == 0, done.stderr
    _, postgresql, sqlite = re.split(r"^-- (?:postgresql|sqlite)$", done.stdout, flags=re.MULTILINE)
    for script in (postgresql, sqlite):
        for words in ("CREATE TABLE scoring_runs", "CREATE TABLE predictions (", "predictions_current", "VARCHAR(20)"):
            assert words in script.replace('"', "")
    assert "COMMENT ON TABLE predictions IS" in postgresql.replace('"', "")
    assert "TIMESTAMP WITH TIME ZONE" in postgresql
    assert "COMMENT ON" not in sqlite
    assert done.stderr.count("left out: the tables of job lost") == 2
    assert workspace.query("SELECT count(*) FROM applicants") == [(0,)], "nothing is applied"
    with workspace.database() as database, database.read() as connection:
        assert sa.inspect(connection).get_table_names() == ["applicants"]


def aliases(workspace: Workspace) -> list[tuple[Any, ...]]:
    """Which alias points where."""
    return workspace.aliases()


@pytest.mark.slow
def test_promote_says_which_version_an_alias_left_and_which_it_points_at(
    sqlite_workspace: Workspace, loan_model: TrainedModel
) -> None:
    prepare_loans(sqlite_workspace, loan_model)
    assert sqlite_workspace.register(loan_model.pipeline, loan_model.features).version == 2
    done = sqlite_workspace.cli("model", "promote", NAME, "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "champion of loan_eligibility: version 1 -> version 2"
    back = sqlite_workspace.cli_json("model", "promote", NAME, "1")
    assert (back["name"], back["alias"], back["version"], back["version_before"]) == (NAME, "champion", 1, 2)
    assert aliases(sqlite_workspace) == [("champion", 1)]


@pytest.mark.slow
def test_promote_moves_the_alias_it_is_told_and_no_other(loan_workspace: Workspace, loan_model: TrainedModel) -> None:
    loan_workspace.register(loan_model.pipeline, loan_model.features)
    with loan_workspace.database() as database:
        promoter = Promoter(
            database=database, artifacts_dir=loan_workspace.artifacts_dir, name=NAME, alias="challenger"
        )
        before = promoter.promote(2, reason="trial").version_before
    assert before is None
    assert aliases(loan_workspace) == [("challenger", 2), ("champion", 1)]


@pytest.mark.slow
def test_promote_leaves_the_alias_where_the_artifact_is_damaged(
    loan_workspace: Workspace, loan_model: TrainedModel
) -> None:
    second = loan_workspace.register(joblib_copy(loan_model.pipeline), loan_model.features)
    file = loan_workspace.artifacts_dir / second.artifact_uri
    file.write_bytes(file.read_bytes() + b" ")

    done = loan_workspace.cli("model", "promote", NAME, "2")

    assert (done.returncode, done.stdout) == (3, "")
    assert "is not the registered one" in done.stderr
    assert aliases(loan_workspace) == [("champion", 1)]


def joblib_copy(model: Any) -> Any:
    """The same model in other bytes, so that its artifact is a file of its own."""
    from sklearn.base import clone

    copy = clone(model)
    copy.__dict__.update(model.__dict__)
    copy.memory_of_origin_ = "a copy"
    return copy


def test_a_run_that_does_not_exist_is_named(ready: Workspace) -> None:
    done = ready.cli("runs", "show", "99")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: there is no run 99; see `batch-scoring runs`\n"


def age(workspace: Workspace, hours: int) -> None:
    """Set the end of every run back."""
    before = workspace.words.hours_before.format(time="finished_at", hours=hours)
    workspace.sql(f"UPDATE scoring_runs SET finished_at = {before}")


def test_status_is_0_while_the_last_success_is_fresh_and_5_once_it_is_stale(loan_workspace: Workspace) -> None:
    never = loan_workspace.cli("status", "--max-age", "2h")
    assert never.returncode == 5
    assert "loan_eligibility: no run has succeeded yet" in never.stderr

    loan_workspace.run()
    fresh = loan_workspace.cli("status", "--max-age", "2h")
    assert (fresh.returncode, fresh.stderr) == (0, "")
    assert "ok" in fresh.stdout

    age(loan_workspace, 3)
    stale = loan_workspace.cli("status", "--max-age", "2h")
    assert stale.returncode == 5
    assert "unhealthy" in stale.stdout
    assert "loan_eligibility: the last success is 3:00:0" in stale.stderr
    assert "2:00:00 is allowed" in stale.stderr
    assert loan_workspace.cli("status", "--max-age", "1 day").returncode == 0


def test_status_is_5_after_a_run_that_failed_and_says_why(loan_workspace: Workspace) -> None:
    loan_workspace.run()
    loan_workspace.write_job(NAME, LOAN_JOB.replace('"applicants"', '"nowhere"'))
    with pytest.raises(SourceFault):
        loan_workspace.run()
    loan_workspace.write_job(NAME, LOAN_JOB)

    done = loan_workspace.cli("status", NAME, "--json")

    assert done.returncode == 5
    (state,) = json.loads(done.stdout)
    assert state["unhealthy"].startswith("run 2 failed: job loan_eligibility: there is no table or view nowhere")
    assert (state["last_run"]["run_id"], state["last_success"]["run_id"]) == (2, 1)
    assert f"loan_eligibility: {state['unhealthy']}" in done.stderr

    loan_workspace.run()
    assert loan_workspace.cli("status").returncode == 0


def test_status_is_5_where_the_model_file_is_not_the_one_that_was_registered(loan_workspace: Workspace) -> None:
    loan_workspace.run()
    assert loan_workspace.cli("status").returncode == 0
    (artifact,) = loan_workspace.artifacts_dir.rglob("*.joblib")
    with artifact.open("ab") as file:
        file.write(b" ")
    found = loan_workspace.cli("status")
    assert (found.returncode, "is not the registered one" in found.stderr) == (5, True)
    artifact.unlink()
    assert "cannot be read" in loan_workspace.cli("status").stderr


def test_status_is_5_while_the_run_after_one_that_failed_is_under_way(loan_workspace: Workspace) -> None:
    loan_workspace.run()
    failed = (
        "INSERT INTO scoring_runs (job, trigger, status, started_at, heartbeat_at, finished_at, end_reason, error_type,"
        " error_message, host, process_id, package_version, environment, job_config, requested_by) SELECT job, trigger,"
        " 'failed', started_at, heartbeat_at, finished_at, 'error', 'DatabaseFull', 'no space', host, process_id,"
        " package_version, environment, job_config, requested_by FROM scoring_runs WHERE run_id = 1"
    )
    loan_workspace.sql(failed)
    now = loan_workspace.words.now
    loan_workspace.sql(
        "INSERT INTO scoring_runs (job, trigger, status, started_at, heartbeat_at, host, process_id, package_version,"
        f" environment, job_config, requested_by) SELECT job, trigger, 'running', {now}, {now}, host, process_id,"
        " package_version, environment, job_config, requested_by FROM scoring_runs WHERE run_id = 1"
    )
    found = loan_workspace.cli("status")
    assert (found.returncode, "run 2 failed: no space" in found.stderr) == (5, True)


def test_status_of_one_job_does_not_suffer_from_another_whose_source_is_gone(loan_workspace: Workspace) -> None:
    loan_workspace.run()
    loan_workspace.write_job("lost", LOAN_JOB.replace('"applicants"', '"nowhere"').replace('"predictions"', '"others"'))
    assert loan_workspace.cli("status", NAME).returncode == 0
    both = loan_workspace.cli("status")
    assert both.returncode != 0
    assert "nowhere" in both.stderr
    assert "Traceback" not in both.stderr
    assert NAME in both.stdout, "the sound job is shown all the same"


@pytest.mark.slow
def test_a_run_with_nothing_due_imports_no_model_library(loan_workspace: Workspace) -> None:
    loan_workspace.run()
    loan_workspace.environ["PYTHONPROFILEIMPORTTIME"] = "1"
    done = loan_workspace.cli_anew("run", NAME)
    assert done.returncode == 0
    assert "nothing was due" in done.stdout
    found = imported(done.stderr)
    assert {"batch_scoring", "sqlalchemy"} <= found
    assert not found & {"sklearn", "pandas", "pyarrow", "numpy", "scipy", "joblib", "alembic"}


def test_settings_have_defaults_in_the_folder_of_the_process(sqlite_workspace: Workspace) -> None:
    environ = ("DATABASE_URL", "JOBS_DIR", "ARTIFACTS_DIR")
    sqlite_workspace.environ.update({f"BATCH_SCORING_{name}": "" for name in environ})
    sqlite_workspace.write_job(NAME, LOAN_JOB)
    pd.DataFrame({"Loan_ID": ["A"]}).to_csv(sqlite_workspace.folder / "one.csv", index=False)
    assert sqlite_workspace.cli("load", "applicants", "one.csv", "--key", "Loan_ID").returncode == 0
    done = sqlite_workspace.cli("db", "upgrade")
    assert done.returncode == 0, done.stderr
    assert (
        "created predictions, predictions_superseded, predictions_quarantine, predictions_quarantine_closed"
        in done.stdout
    )
    assert "and the views predictions_current, _history," in done.stdout
    assert Path(sqlite_workspace.folder, "batch_scoring.db").is_file()
