"""What a promotion means is printed, the mix of versions is shown, and a file registered twice is one version."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from commands import assert_no_traceback
from support import Workspace

from batch_scoring.model.training import TrainedModel
from batch_scoring.monitoring.health import status_of
from batch_scoring.sinks.prometheus import write_metrics_file
from batch_scoring.store.runs.history import run_totals

NAME = "loan_eligibility"


@pytest.fixture
def mixed(loan_workspace: Workspace, loan_model: TrainedModel) -> Workspace:
    """367 predictions, of which one is by version 2, which is the champion."""
    loan_workspace.run()
    assert loan_workspace.register(loan_model.pipeline, loan_model.features).version == 2
    return loan_workspace


def _score_one_again(workspace: Workspace) -> None:
    workspace.sql("""UPDATE applicants SET updated_at = '2999-01-01 00:00:00' WHERE "Loan_ID" = 'LP001015'""")
    assert workspace.run().scored_count == 1


@pytest.mark.slow
def test_a_promotion_shows_how_many_current_predictions_are_by_another_version_and_the_next_command(
    mixed: Workspace,
) -> None:
    done = mixed.cli("model", "promote", NAME, "2")
    assert_no_traceback(done)
    assert done.returncode == 0, done.stderr
    first, *_ = done.stdout.splitlines()
    assert first == "champion of loan_eligibility: version 1 -> version 2"
    assert (
        f"job {NAME}: 367 of 367 current predictions are by another version (loan_eligibility v1: 367)" in done.stdout
    )
    command = f"batch-scoring rescore {NAME} --scored-by-version 1 --dry-run"
    assert command in done.stdout
    shown = mixed.cli(*command.split()[1:], "--json")
    assert json.loads(shown.stdout)["row_count"] == 367

    _score_one_again(mixed)
    again = mixed.cli_json("model", "promote", NAME, "2")
    (effect,) = again["jobs"]
    assert (effect["current_count"], effect["other_count"]) == (367, 366)
    assert [(one["model_version"], one["rows"]) for one in effect["versions"]] == [(1, 366), (2, 1)]
    assert effect["commands"] == [command]


@pytest.mark.slow
def test_a_promotion_compares_the_figures_of_both_versions(
    loan_workspace: Workspace, loan_train: pd.DataFrame, tmp_path: Path
) -> None:
    history = tmp_path / "history.csv"
    loan_train.to_csv(history, index=False)
    for algorithm in ("logistic_regression", "decision_tree"):
        done = loan_workspace.cli(
            "train", NAME, "--data", str(history), "--label", "Loan_Status", "--algorithm", algorithm
        )
        assert done.returncode == 0, done.stderr
    assert loan_workspace.cli("model", "promote", NAME, "2").returncode == 0

    found = loan_workspace.cli_json("model", "promote", NAME, "3")
    figures = {figure["name"]: (figure["before"], figure["now"]) for figure in found["figures"]}
    assert figures["training rows"] == (614, 614)
    before, now = figures["cross-validated accuracy"]
    assert 0.5 < now < before < 1
    assert loan_workspace.cli_json("model", "promote", NAME, "3")["version_before"] == 3


@pytest.mark.slow
def test_a_broken_job_file_or_one_that_never_ran_does_not_stop_a_promotion(
    loan_workspace: Workspace, loan_model: TrainedModel
) -> None:
    loan_workspace.register(loan_model.pipeline, loan_model.features)
    (loan_workspace.jobs_dir / "broken.toml").write_text("[sauce]\n")
    done = loan_workspace.cli("model", "promote", NAME, "2")
    assert_no_traceback(done)
    assert done.returncode == 0, done.stderr
    assert f"job {NAME}: 0 of 0 current predictions" in done.stdout
    assert "job broken cannot be read" in done.stderr


@pytest.mark.slow
def test_an_alias_that_no_job_uses_names_no_job(mixed: Workspace) -> None:
    assert mixed.cli_json("model", "promote", NAME, "2", "--alias", "challenger")["jobs"] == []


@pytest.mark.slow
def test_status_and_metrics_show_the_mix(mixed: Workspace, tmp_path: Path) -> None:
    assert mixed.cli("model", "promote", NAME, "2").returncode == 0
    _score_one_again(mixed)

    (state,) = mixed.cli_json("status", NAME)
    assert state["model_version"] == 2
    assert [(one["model_name"], one["model_version"], one["rows"]) for one in state["versions"]] == [
        (NAME, 1, 366),
        (NAME, 2, 1),
    ]
    assert state["current_count"] == 367
    assert "v1: 366, v2: 1" in mixed.cli("status", NAME).stdout

    with mixed.database() as database:
        states = [status_of(database, mixed.job(), mixed.artifacts_dir)]
        write_metrics_file(tmp_path / "any.prom", run_totals(database), states)
    lines = (tmp_path / "any.prom").read_text().splitlines()
    sample = (
        'batch_scoring_current_predictions_by_version{model="loan_eligibility",model_version="%s",scoring_job="%s"} %s'
    )
    assert sample % (1, NAME, "366.0") in lines
    assert sample % (2, NAME, "1.0") in lines
    assert f'batch_scoring_model_version{{scoring_job="{NAME}"}} 2.0' in lines


@pytest.fixture
def file(loan_workspace: Workspace, tmp_path: Path) -> Path:
    """The file of version 1, somewhere else."""
    (artifact,) = loan_workspace.artifacts_dir.rglob("*.joblib")
    copy = tmp_path / "again.joblib"
    copy.write_bytes(artifact.read_bytes())
    return copy


@pytest.mark.slow
def test_the_same_file_registered_again_is_the_version_that_it_is(
    loan_workspace: Workspace, file: Path, loan_model: TrainedModel, tmp_path: Path
) -> None:
    sample = tmp_path / "sample.parquet"
    loan_model.features.to_parquet(sample)
    register = ("model", "register", str(file), "--name", "copies", "--sample", str(sample))
    first = loan_workspace.cli(*register)
    assert (first.returncode, first.stdout.startswith("registered copies version 1: ")) == (0, True), first.stderr

    again = loan_workspace.cli(*register)
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("copies version 1 is the same file, registered ")
    assert loan_workspace.cli_json(*register)["is_new"] is False
    assert loan_workspace.scalar("SELECT count(*) FROM model_versions WHERE name = 'copies'") == 1

    assert loan_workspace.cli(*register, "--alias", "challenger").returncode == 0
    assert ("challenger", 1) in loan_workspace.aliases()


@pytest.mark.slow
def test_registering_again_restores_a_file_that_is_gone(
    loan_workspace: Workspace, file: Path, loan_model: TrainedModel, tmp_path: Path
) -> None:
    sample = tmp_path / "sample.parquet"
    loan_model.features.to_parquet(sample)
    register = ("model", "register", str(file), "--name", "copies", "--sample", str(sample))
    assert loan_workspace.cli(*register).returncode == 0
    (artifact,) = (loan_workspace.artifacts_dir / "copies").glob("*.joblib")
    artifact.unlink()
    assert loan_workspace.cli(*register).returncode == 0
    assert loan_workspace.cli("model", "verify", "copies").returncode == 0


@pytest.mark.slow
def test_the_same_file_with_another_signature_is_a_new_version_and_says_why(
    loan_workspace: Workspace, file: Path, loan_model: TrainedModel, tmp_path: Path
) -> None:
    loan_model.features.to_parquet(tmp_path / "all.parquet")
    loan_model.features.dropna().to_parquet(tmp_path / "sound.parquet")
    for sample in ("all", "sound"):
        done = loan_workspace.cli(
            "model", "register", str(file), "--name", "copies", "--sample", str(tmp_path / f"{sample}.parquet")
        )
        assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("registered copies version 2: ")
    assert "version 1 is the same file; this is a new version because its signature" in done.stderr
