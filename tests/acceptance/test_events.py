"""Every command that changes something emits events: to a log elsewhere, and nothing on a terminal."""

from __future__ import annotations

import re

import joblib
import pytest
from commands import events
from conftest import prepare_loans
from support import Workspace
from terminals import on_terminal

from batch_scoring.model.training import TrainedModel
from batch_scoring.operations import retention
from batch_scoring.registry.promotion import Promoter
from batch_scoring.scoring.events import Event, HoldPlaced, HoldReleased, ModelPromoted

JOB = "loan_eligibility"
KEY, HELD = "LP001015", "LP001022"


@pytest.fixture
def scored(tmp_path_factory: pytest.TempPathFactory, loan_model: TrainedModel) -> Workspace:
    """The loan job after one run that quarantined a row."""
    folder = tmp_path_factory.mktemp("events")
    workspace = prepare_loans(Workspace(folder, f"sqlite:///{folder}/test.db"), loan_model)
    workspace.sql(f'UPDATE applicants SET "ApplicantIncome" = NULL WHERE "Loan_ID" = \'{KEY}\'')
    workspace.run()
    joblib.dump(loan_model.pipeline, folder / "model.joblib")
    loan_model.features.to_csv(folder / "sample.csv", index=False)
    return workspace


COMMANDS = {
    f"quarantine retry {JOB} --all": ["run_started", "run_finished"],
    f"purge {JOB} --superseded-before 2100-01-01 --reason policy --yes": ["run_started", "run_finished"],
    f"hold add {JOB} --key {HELD} --reason dispute": ["hold_placed"],
    "hold remove 1": ["hold_released"],
    f"model register model.joblib --name {JOB} --sample sample.csv": ["model_registered"],
    f"model promote {JOB} 2": ["model_promoted"],
    "model register model.joblib --name other --sample sample.csv --alias best": ["model_registered", "model_promoted"],
    "model register model.joblib --name other --sample sample.csv": [],
}
"""Commands, in order, and the events that each emits."""


@pytest.mark.slow
def test_every_change_is_one_event_of_the_log_without_applicant_data(scored: Workspace) -> None:
    for command, names in COMMANDS.items():
        done = scored.cli(*command.split())
        assert done.returncode == 0, done.stderr
        assert [event["event"] for event in events(done.stderr)] == names, command
        assert not {KEY, HELD} & set(re.findall(r"LP\d+", done.stderr))


@pytest.mark.slow
def test_on_a_terminal_the_same_commands_show_no_event(scored: Workspace) -> None:
    for command in COMMANDS:
        shown = on_terminal(scored, *command.split(), columns=200)
        assert shown.code == 0, shown.text
        assert "\x1b" not in shown.text
        assert not [
            word for word in ("run_started", "hold_", "model_promoted", "model_registered") if word in shown.text
        ]


@pytest.mark.slow
def test_metrics_are_written_and_operators_notified_as_after_any_run(scored: Workspace) -> None:
    metrics = scored.folder / "metrics"
    metrics.mkdir()
    scored.environ["BATCH_SCORING_METRICS_DIR"] = str(metrics)
    assert scored.cli("quarantine", "retry", JOB, "--all").returncode == 0
    assert "batch_scoring_due_rows" in (metrics / f"batch_scoring_{JOB}.prom").read_text()


def test_operations_call_the_observers_that_they_are_given(scored: Workspace) -> None:
    seen: list[Event] = []
    job = scored.job(JOB)
    with scored.database() as database:
        folder = scored.artifacts_dir
        promoter = Promoter(
            database=database, artifacts_dir=folder, name=JOB, alias="challenger", observers=[seen.append]
        )
        promoter.promote(1, reason="trial")
        hold_id = retention.hold(
            database, job, key=None, run_id=1, reason="audit", created_by="Ann", observers=[seen.append]
        )
        retention.release(database, hold_id, removed_by="Ben", observers=[seen.append])

    promoted, placed, released = seen
    assert isinstance(promoted, ModelPromoted)
    assert (promoted.alias, promoted.version, promoted.previous_version) == ("challenger", 1, None)
    assert placed == HoldPlaced(hold_id=hold_id, job=JOB, held_run_id=1, placed_by="Ann")
    assert released == HoldReleased(hold_id=hold_id, released_by="Ben")
