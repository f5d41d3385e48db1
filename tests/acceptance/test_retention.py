"""Retention deletes what is old and on no hold, on request only, and is on record."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from conftest import prepare_loans
from faults import assert_each_applicant_has_one_current_prediction_of_its_present_version
from support import LOAN_JOB, Workspace, claim_run

from batch_scoring.errors import AnotherRunActive, InputFault
from batch_scoring.model.training import TrainedModel
from batch_scoring.operations import retention as scoring
from batch_scoring.store.engine.database import Database
from batch_scoring.store.outcomes import retention
from batch_scoring.store.outcomes.retention import Cutoffs, Purged

LATER = datetime(2030, 1, 1, tzinfo=UTC)
EVERYTHING = Cutoffs(superseded_before=LATER, inputs_before=None)


@pytest.fixture
def aged(workspace: Workspace, loan_model: TrainedModel) -> Workspace:
    """Three lives of each applicant with their inputs: two superseded, one current; and a closed quarantine entry."""
    prepare_loans(workspace, loan_model, job=LOAN_JOB.replace("[predictions]", "[predictions]\nkeep_inputs = true"))
    workspace.sql('UPDATE applicants SET "Education" = NULL WHERE "Loan_ID" = \'LP001015\'')
    workspace.run()
    for month in ("02", "03"):
        workspace.sql(f"UPDATE applicants SET \"Education\" = 'Graduate', updated_at = '2026-{month}-01 00:00:00'")
        workspace.run()
    return workspace


def _contents(workspace: Workspace) -> dict[str, int]:
    tables = ("predictions", "predictions_quarantine")
    found = {table: workspace.scalar(f"SELECT count(*) FROM {workspace.with_past(table)} p") for table in tables}
    return {**found, "predictions_inputs": workspace.scalar("SELECT count(*) FROM predictions_inputs")}


def _preview(workspace: Workspace, cutoffs: Cutoffs) -> Purged:
    with workspace.database() as database:
        return scoring.preview_purge(database, workspace.job(), cutoffs)


def _hold(workspace: Workspace, **held: Any) -> int:
    with workspace.database() as database:
        said = {"key": None, "run_id": None, "reason": "a court", "created_by": "counsel", **held}
        return scoring.hold(database, workspace.job(), **said)


@pytest.mark.slow
def test_what_is_superseded_goes_with_its_inputs_and_what_is_current_stays(aged: Workspace) -> None:
    before = _contents(aged)
    assert before == {"predictions": 1100, "predictions_quarantine": 1, "predictions_inputs": 1100}
    assert _preview(aged, EVERYTHING) == Purged(predictions=733, quarantine_entries=1, inputs=733, held=0)
    assert _contents(aged) == before, "a preview deletes nothing"

    run = scoring.purge(
        Database(aged.database_url), aged.job(), EVERYTHING, reason="five years are over", requested_by="dpo"
    )

    assert (run.trigger, run.status, run.purged_count) == ("purge", "succeeded", 733 + 1 + 733)
    assert (run.reason, run.requested_by) == ("five years are over", "dpo")
    assert _contents(aged) == {"predictions": 367, "predictions_quarantine": 0, "predictions_inputs": 367}
    assert_each_applicant_has_one_current_prediction_of_its_present_version(aged)
    assert aged.run().due_count == 0
    assert aged.cli("replay", "loan_eligibility", "LP001015").returncode == 0


def test_inputs_alone_may_go_those_of_current_predictions_among_them(aged: Workspace) -> None:
    cutoffs = Cutoffs(superseded_before=None, inputs_before=LATER)
    assert scoring.purge(Database(aged.database_url), aged.job(), cutoffs, reason="privacy").purged_count == 1100
    assert _contents(aged) == {"predictions": 1100, "predictions_quarantine": 1, "predictions_inputs": 0}


@pytest.mark.slow
def test_only_what_is_older_than_asked_goes(aged: Workspace) -> None:
    second = aged.scalar("SELECT started_at FROM scoring_runs WHERE run_id = 2")
    moment = datetime.fromisoformat(str(second)).replace(tzinfo=UTC) if not isinstance(second, datetime) else second
    found = _preview(aged, Cutoffs(superseded_before=moment, inputs_before=moment))
    assert found == Purged(predictions=0, quarantine_entries=0, inputs=366, held=0), "the first run's inputs alone"


def test_a_legal_hold_on_a_key_or_a_run_keeps_its_rows_until_it_is_removed(aged: Workspace) -> None:
    by_key, by_run = _hold(aged, key=("LP001022",)), _hold(aged, run_id=2)
    found = _preview(aged, EVERYTHING)
    # of the key: two lives and their inputs, one of them the second run's; of the run: 367 lives and their inputs
    assert (found.predictions, found.inputs, found.held) == (365, 365, 2 * (367 + 1))
    scoring.purge(Database(aged.database_url), aged.job(), EVERYTHING, reason="retention")
    assert aged.scalar("SELECT count(*) FROM predictions_history WHERE \"Loan_ID\" = 'LP001022'") == 3
    assert aged.scalar("SELECT count(*) FROM predictions_history WHERE run_id = 2") == 367

    with aged.database() as database:
        assert retention.remove_hold(database, by_run, removed_by="counsel")
        assert not retention.remove_hold(database, by_run, removed_by="counsel"), "it stands no more"
        assert [hold.hold_id for hold in retention.list_holds(database)] == [by_key]
        assert len(retention.list_holds(database, with_removed=True)) == 2
    scoring.purge(Database(aged.database_url), aged.job(), EVERYTHING, reason="retention")
    assert aged.scalar("SELECT count(*) FROM predictions_history") == 367 + 2


def test_what_cannot_be_held_is_said(aged: Workspace) -> None:
    with pytest.raises(InputFault, match="never scored"):
        _hold(aged, key=("nobody",))
    with pytest.raises(InputFault, match="no run 99"):
        _hold(aged, run_id=99)
    assert aged.scalar("SELECT count(*) FROM legal_holds") == 0


def test_a_purge_waits_for_no_run_and_interrupts_none(aged: Workspace) -> None:
    from datetime import timedelta

    with aged.database() as database:
        claim_run(database, job="loan_eligibility", job_config={}, environment={}, stalled_after=timedelta(minutes=5))
    with pytest.raises(AnotherRunActive):
        scoring.purge(Database(aged.database_url), aged.job(), EVERYTHING, reason="retention")
    assert _contents(aged)["predictions"] == 1100


@pytest.mark.slow
def test_many_rows_go_some_thousand_a_transaction_and_what_an_interrupted_purge_left_goes_with_the_next(
    aged: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_ROWS_AT_ONCE", 300)
    purge_some, calls = retention.purge_some, []

    def interrupted(*arguments: Any) -> int:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return purge_some(*arguments)

    monkeypatch.setattr(retention, "purge_some", interrupted)
    with pytest.raises(KeyboardInterrupt):
        scoring.purge(Database(aged.database_url), aged.job(), EVERYTHING, reason="retention")
    ((status, purged),) = aged.query("SELECT status, purged_count FROM scoring_runs WHERE \"trigger\" = 'purge'")
    assert (status, purged) == ("failed", 600)
    assert _contents(aged)["predictions_inputs"] == 500

    assert (
        scoring.purge(Database(aged.database_url), aged.job(), EVERYTHING, reason="retention").purged_count
        == 133 + 733 + 1
    )
    assert _contents(aged) == {"predictions": 367, "predictions_quarantine": 0, "predictions_inputs": 367}


@pytest.mark.slow
def test_the_command_asks_for_what_it_needs(aged: Workspace) -> None:
    for arguments, said in {
        (): "expected --superseded-before",
        ("--superseded-before", "2030-01-01"): "--reason is missing",
        ("--superseded-before", "2030-01-01", "--reason", "x"): "add --yes",
        ("--superseded-before", "yesterday", "--reason", "x", "--yes"): "'yesterday'",
    }.items():
        refused = aged.cli("purge", "loan_eligibility", *arguments)
        assert refused.returncode == 2
        assert said in " ".join(refused.stderr.split())
    assert _contents(aged)["predictions"] == 1100
    counted = aged.cli_json("purge", "loan_eligibility", "--superseded-before", "2030-01-01", "--dry-run")
    assert counted == {"predictions": 733, "quarantine_entries": 1, "inputs": 733, "held": 0, "challengers": 0}
