"""``train``: rows of files and queries, a search, the same file for the same rows, and the model card."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import pandas as pd
import pytest
from commands import assert_refused
from conftest import prepare_loans
from support import DATA, LOAN_JOB, Workspace

from batch_scoring.model.training import Algorithm, TrainedModel

NAME = "loan_eligibility"
FILE = ("train", NAME, "--data", str(DATA / "loan_train.csv"), "--label", "Loan_Status")
QUERY = """
query = '''
SELECT a.*, o."Loan_Status", o.known_at FROM past_applicants AS a JOIN outcomes AS o ON o."Loan_ID" = a."Loan_ID"
'''
label = "Loan_Status"
time = "known_at"
purpose = "Decides which applications a person looks at first."
limits = ["Not for applicants <b>abroad</b>.", "Not for amounts above 500."]
groups = ["Gender", "Property_Area"]
ignore = ["updated_at"]
"""


def with_outcomes(workspace: Workspace, loan_train: pd.DataFrame) -> Workspace:
    """Past applicants and their outcomes, one known each hour of 2025, in tables of the job's database."""
    from batch_scoring.store.source.loading import load_csv

    workspace.write_job(NAME, LOAN_JOB.replace("[training]", f"[training]{QUERY}"))
    features = workspace.folder / "past.csv"
    loan_train.drop(columns="Loan_Status").to_csv(features, index=False)
    hours = pd.date_range("2025-01-01", periods=len(loan_train), freq="h")
    outcomes = loan_train[["Loan_ID", "Loan_Status"]].assign(known_at=hours.strftime("%Y-%m-%dT%H:%M:%S"))
    outcomes.to_csv(workspace.folder / "outcomes.csv", index=False)
    workspace.upgrade()
    with workspace.database() as database:
        load_csv(database, "past_applicants", features, key=["Loan_ID"])
        load_csv(database, "outcomes", workspace.folder / "outcomes.csv", key=["Loan_ID"], changed_at="noted_at")
    return workspace


def trained(workspace: Workspace, *arguments: str) -> dict[str, Any]:
    done = workspace.cli(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_rows_of_a_query_give_the_same_file_whatever_their_order(
    workspace: Workspace, loan_train: pd.DataFrame
) -> None:
    with_outcomes(workspace, loan_train)

    first = trained(workspace, "train", NAME)
    workspace.sql('CREATE TABLE reversed AS SELECT * FROM past_applicants ORDER BY "Loan_ID" DESC')
    workspace.sql("ALTER TABLE past_applicants RENAME TO before")
    workspace.sql("ALTER TABLE reversed RENAME TO past_applicants")
    second = trained(workspace, "train", NAME)

    assert first["artifact_sha256"] == second["artifact_sha256"]
    data: Mapping[str, Any] = first["manifest"]["training_data"]
    assert (data["rows"], data["file"], data["label_column"]) == (614, f"query of job {NAME}", "Loan_Status")
    assert data["sha256"] == second["manifest"]["training_data"]["sha256"]
    assert "known_at" not in {column["name"] for column in first["manifest"]["signature"]["columns"]}


@pytest.mark.slow
def test_rows_from_a_time_on_are_left_out(workspace: Workspace, loan_train: pd.DataFrame) -> None:
    with_outcomes(workspace, loan_train)

    found = trained(workspace, "train", NAME, "--as-of", "2025-01-15T00:00:00")

    assert found["manifest"]["training_data"]["rows"] == 14 * 24
    assert found["manifest"]["training_data"]["as_of"].startswith("2025-01-15T00:00:00")
    assert_refused(workspace.cli("train", NAME, "--as-of", "2024-01-01"), 2, "no labelled row is from before")


@pytest.mark.slow
def test_the_card_says_what_the_model_is_for_and_for_whom_it_does_how_well(
    sqlite_workspace: Workspace, loan_train: pd.DataFrame
) -> None:
    workspace = with_outcomes(sqlite_workspace, loan_train)
    found = trained(workspace, "train", NAME)
    (card,) = (workspace.artifacts_dir / NAME).glob("*.card.html")
    text = card.read_text(encoding="utf-8")

    assert "Decides which applications a person looks at first." in text
    assert "Not for amounts above 500." in text
    assert "<b>abroad" not in text
    assert re.search(r"<td>Gender</td>\s*<td>Female</td>\s*<td>\d+</td>", text)
    assert text.count("<svg") == 3
    assert not re.search(r"(?:src|href)=\"(?:https?:|//)", text)
    groups = found["manifest"]["metrics"]["groups"]
    assert sum(group["rows"] for group in groups if group["column"] == "Property_Area") == 614
    low, high = found["manifest"]["metrics"]["cross_validation"]["roc_auc_interval"]
    assert low < found["manifest"]["metrics"]["cross_validation"]["roc_auc"] < high
    dossier = workspace.cli("model", "dossier", NAME, "1").stdout
    assert "Figures by group" in dossier
    assert "Not for amounts above 500." in dossier


@pytest.mark.slow
def test_a_search_compares_every_algorithm_and_takes_the_best(sqlite_workspace: Workspace) -> None:
    workspace = sqlite_workspace
    workspace.write_job(NAME, LOAN_JOB)
    workspace.upgrade()

    done = workspace.cli(*FILE, "--search")

    assert done.returncode == 0, done.stderr
    assert "compared on the same folds" in done.stdout
    manifest = json.loads(workspace.cli("model", "show", NAME, "1", "--json").stdout)["manifest"]
    candidates = manifest["metrics"]["candidates"]
    assert {candidate["algorithm"] for candidate in candidates} == set(Algorithm)
    losses = [candidate["log_loss"] for candidate in candidates]
    assert losses == sorted(losses)
    assert losses[0] == pytest.approx(manifest["metrics"]["cross_validation"]["log_loss"])


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_the_same_rows_give_the_same_file_in_another_process(sqlite_workspace: Workspace, algorithm: Algorithm) -> None:
    workspace = sqlite_workspace
    workspace.write_job(NAME, LOAN_JOB)
    workspace.upgrade()
    hashes = set()
    for seed in ("1", "2"):
        workspace.environ["PYTHONHASHSEED"] = seed
        done = workspace.cli_anew(*FILE, "--algorithm", algorithm, "--json")
        assert done.returncode == 0, done.stderr
        hashes.add(json.loads(done.stdout)["artifact_sha256"])
    assert len(hashes) == 1


@pytest.mark.slow
def test_a_scorecard_is_scored_in_the_database_as_in_python(workspace: Workspace, loan_model: TrainedModel) -> None:
    prepare_loans(workspace, loan_model, job=LOAN_JOB.replace("[run]", '[run]\nengine = "database"'))
    workspace.sql("""UPDATE applicants SET "Gender" = 'unknown' WHERE "Loan_ID" = 'LP001015'""")
    version = trained(workspace, *FILE, "--algorithm", "scorecard")
    workspace.promote(version["version"])

    finished = workspace.cli_json("run", NAME)

    assert (finished["engine"], finished["scored_count"]) == ("database", 367)
    assert finished["largest_difference"] <= 1e-12
    in_database = dict(workspace.query('SELECT "Loan_ID", score FROM predictions'))
    workspace.write_job(NAME, LOAN_JOB)
    assert workspace.cli("rescore", NAME, "--all", "--reason", "compare", "--yes").returncode == 0
    assert dict(workspace.query('SELECT "Loan_ID", score FROM predictions')) == pytest.approx(in_database, abs=1e-12)


@pytest.mark.parametrize(
    ("training", "options", "words"),
    [
        ("", ("--label", "x"), "training.query: is missing"),
        ('query = "DELETE FROM applicants"', ("--label", "x"), "expected a SELECT"),
        ('query = "SELECT 1 AS x"', (), "give --label, or set [training] label"),
        ('query = "SELECT 1 AS x, 2 AS x"', ("--label", "x"), "columns of the same name"),
        ('query = "SELECT 1 AS x"', ("--label", "y"), "no column y"),
        ('query = "SELECT 1 AS x"', ("--label", "x", "--as-of", "2026-01-01"), "does not set"),
        ('query = "SELECT 1 AS x"\ntime = "t"', ("--label", "x", "--as-of", "2026-01-01"), "have no column t"),
        ('query = "SELECT 1 AS x"\ngroups = ["g"]', ("--label", "x"), "no rows or no feature columns"),
        ('query = "SELECT 1 AS x"', ("--label", "x", "--search", "--algorithm", "decision_tree"), "--search chooses"),
        ('query = "SELECT 1 AS x"', ("--label", "x", "--mlflow-alias", "champion"), "belongs to --mlflow"),
    ],
)
def test_what_cannot_be_trained_is_said_before_anything_is_written(
    sqlite_workspace: Workspace, training: str, options: tuple[str, ...], words: str
) -> None:
    workspace = sqlite_workspace
    workspace.write_job(NAME, f"{LOAN_JOB.partition('[training]')[0]}[training]\n{training}\n")
    workspace.upgrade()

    assert_refused(workspace.cli("train", NAME, *options), 2, words)
    assert workspace.scalar("SELECT count(*) FROM model_versions") == 0


def test_a_query_that_fails_is_a_fault_of_the_database(sqlite_workspace: Workspace) -> None:
    workspace = sqlite_workspace
    workspace.write_job(NAME, LOAN_JOB.replace("[training]", '[training]\nquery = "SELECT * FROM nowhere"'))
    workspace.upgrade()
    done = workspace.cli("train", NAME, "--label", "x")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "nowhere" in done.stderr


@pytest.mark.slow
def test_a_card_that_cannot_be_written_ends_nothing(sqlite_workspace: Workspace) -> None:
    workspace = sqlite_workspace
    workspace.write_job(NAME, LOAN_JOB)
    workspace.upgrade()
    trained(workspace, *FILE)
    (card,) = (workspace.artifacts_dir / NAME).glob("*.card.html")
    card.unlink()
    card.mkdir()

    done = workspace.cli(*FILE)

    assert done.returncode == 0, done.stderr
    assert "could not be written" in done.stderr
    assert "model card:" not in done.stdout
    assert workspace.scalar("SELECT count(*) FROM model_versions") == 2
