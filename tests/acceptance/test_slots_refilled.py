"""`run --scheduled-for` after a failure, and what the scheduler service does with a slot that failed."""

from __future__ import annotations

from collections import Counter

import pytest
from commands import assert_no_traceback
from conftest import prepare_loans
from serving import EVERY_SECOND, serving, without_schedule
from support import LOAN_JOB, Workspace, wait_until

from batch_scoring.model.training import TrainedModel

NAME = "loan_eligibility"
SLOT = ("--scheduled-for", "2026-03-01T12:00:00")


@pytest.mark.slow
def test_the_slot_of_a_run_that_failed_is_filled_by_the_same_command(loan_workspace: Workspace) -> None:
    loan_workspace.sql("ALTER TABLE applicants RENAME TO elsewhere")
    failed = loan_workspace.cli("run", NAME, *SLOT)
    loan_workspace.sql("ALTER TABLE elsewhere RENAME TO applicants")
    filled = loan_workspace.cli("run", NAME, *SLOT)
    again = loan_workspace.cli("run", NAME, *SLOT)

    for done in (failed, filled, again):
        assert_no_traceback(done)
    assert (failed.returncode, filled.returncode, again.returncode) == (2, 0, 75)
    assert "run 2 (succeeded) fills the slot of 2026-03-01 12:00:00 UTC" in again.stderr
    runs = loan_workspace.query("SELECT status, scheduled_for IS NULL FROM scoring_runs ORDER BY run_id")
    assert [(status, bool(is_none)) for status, is_none in runs] == [
        ("failed", False),
        ("succeeded", False),
        ("skipped", True),
    ]
    assert loan_workspace.scalar("SELECT count(*) FROM predictions_current") == 367


@pytest.mark.slow
def test_the_service_tries_a_slot_that_fails_once_and_goes_on_with_the_next(
    workspace: Workspace, loan_model: TrainedModel
) -> None:
    prepare_loans(workspace, loan_model, job=without_schedule(LOAN_JOB) + EVERY_SECOND)
    workspace.sql("ALTER TABLE applicants RENAME TO elsewhere")
    with serving(workspace) as service:
        wait_until(lambda: workspace.scalar("SELECT count(*) FROM scoring_runs WHERE status = 'failed'") >= 4)
        assert service.stop() == 0

    tried = Counter(slot for (slot,) in workspace.query("SELECT scheduled_for FROM scoring_runs"))
    assert set(tried.values()) == {1}
