"""A row whose scoring kills the process: after two runs that died it is found, quarantined, and the rest is scored."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import prepare_loans
from faults import assert_counters_equal_rows
from sklearn.pipeline import Pipeline
from support import DATA, LOAN_JOB, Workspace

from batch_scoring.domain.runs import Run
from batch_scoring.errors import WorkerCrashed
from batch_scoring.model.training import TrainedModel
from batch_scoring.scoring.events import Event, ScoringIsolated

_MODULE = '''
"""A step that does to its process what it finds in a column."""

import ctypes
import os
import signal

from sklearn.base import BaseEstimator, TransformerMixin


class Fragile(TransformerMixin, BaseEstimator):
    def fit(self, frame, labels=None):
        self.fitted_ = True
        return self

    def transform(self, frame):
        found = set(frame["LoanAmount"])
        if 111111 in found:
            ctypes.string_at(0)  # a segmentation fault, as from a library
        if 222222 in found:
            os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does where memory runs out
        if 333333 in found:
            os._exit(0)
        return frame
'''

_SEGMENTATION_FAULT, _WANT_OF_MEMORY, _EXIT = 111111, 222222, 333333


@pytest.fixture
def fragile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The step, importable here and in every process that a test starts."""
    (tmp_path / "fragile.py").write_text(_MODULE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("fragile").Fragile()
    sys.modules.pop("fragile", None)


def _prepare(workspace: Workspace, model: TrainedModel, fragile: Any, *, job: str = LOAN_JOB) -> Workspace:
    prepare_loans(workspace, model, job=job)
    pipeline = Pipeline([("fragile", fragile), ("model", model.pipeline)])
    workspace.register(pipeline, model.features)
    workspace.promote(2)
    workspace.environ = {"PYTHONPATH": str(workspace.folder)}
    return workspace


def _spoil(workspace: Workspace, amounts: dict[str, int]) -> None:
    for key, amount in amounts.items():
        workspace.sql('UPDATE applicants SET "LoanAmount" = :a WHERE "Loan_ID" = :k', {"a": amount, "k": key})


def _die(workspace: Workspace, *arguments: str) -> None:
    """A run that dies, as the service closes it."""
    dead = workspace.cli("run", "loan_eligibility", *arguments)
    assert dead.returncode in (-11, -9, 0), dead.stderr
    assert dead.stdout == ""
    assert workspace.query("SELECT run_id FROM scoring_runs WHERE status = 'running'"), dead.stderr
    workspace.sql("UPDATE scoring_runs SET heartbeat_at = '2026-01-01 00:00:00.000000' WHERE status = 'running'")


def _entries(workspace: Workspace) -> list[tuple[Any, ...]]:
    return workspace.query('SELECT "Loan_ID", reason_code FROM predictions_quarantine ORDER BY "Loan_ID"')


@pytest.mark.slow
def test_a_row_that_kills_the_process_is_quarantined_by_the_third_run(
    workspace: Workspace, loan_model: TrainedModel, fragile: Any
) -> None:
    amount = _WANT_OF_MEMORY if workspace.dialect.is_file else _SEGMENTATION_FAULT
    _prepare(workspace, loan_model, fragile)
    _spoil(workspace, {"LP001015": amount})
    _die(workspace)
    _die(workspace)

    third = workspace.cli("run", "loan_eligibility")

    assert third.returncode == 0, third.stderr
    assert "scoring_isolated" in third.stderr
    assert _entries(workspace) == [("LP001015", "model_crash")]
    assert workspace.scalar("SELECT count(*) FROM predictions_current") == 366
    assert_counters_equal_rows(workspace)
    again = workspace.cli("run", "loan_eligibility")
    assert (again.returncode, "nothing was due" in again.stdout) == (0, True)


@pytest.mark.slow
def test_the_model_goes_back_into_the_process_of_the_run_once_a_run_has_ended_well(
    sqlite_workspace: Workspace, loan_model: TrainedModel, fragile: Any
) -> None:
    _prepare(sqlite_workspace, loan_model, fragile)
    sqlite_workspace.sql(
        "INSERT INTO scoring_runs (job, trigger, status, started_at, heartbeat_at, finished_at, end_reason, host,"
        " process_id, package_version, environment, job_config, requested_by)"
        " VALUES ('loan_eligibility', 'cli', 'abandoned', '2026-01-01', '2026-01-01', '2026-01-01', 'stalled', 'h', 1,"
        " '0', '{}', '{}', 'x'), ('loan_eligibility', 'cli', 'abandoned', '2026-01-01', '2026-01-01', '2026-01-01',"
        " 'process_crashed', 'h', 1, '0', '{}', '{}', 'x'), ('loan_eligibility', 'cli', 'skipped', '2026-01-01',"
        " '2026-01-01', '2026-01-01', 'another_run_active', 'h', 1, '0', '{}', '{}', 'x')"
    )
    events: list[Event] = []
    first = sqlite_workspace.run(observers=[events.append])
    assert [event.crashes for event in events if isinstance(event, ScoringIsolated)] == [2]
    assert (first.scored_count, first.quarantined_count) == (367, 0)
    assert "scikit-learn" in str(first.environment)

    sqlite_workspace.sql("UPDATE applicants SET updated_at = '2026-02-02 00:00:00'")
    events.clear()
    assert sqlite_workspace.run(observers=[events.append]).superseded_count == 367
    assert [event for event in events if isinstance(event, ScoringIsolated)] == []


def _isolated(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run in isolation, in this process."""
    from batch_scoring.scoring.engines import choice as engines

    monkeypatch.setattr(engines, "CRASHES_BEFORE_ISOLATION", 0)
    return workspace.run()


@pytest.mark.slow
def test_several_such_rows_and_rows_with_other_faults_each_get_their_own_reason(
    postgresql_workspace: Workspace, loan_model: TrainedModel, fragile: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = _prepare(postgresql_workspace, loan_model, fragile)
    keys = [key for (key,) in workspace.query('SELECT "Loan_ID" FROM applicants ORDER BY "Loan_ID"')]
    _spoil(workspace, {keys[0]: _SEGMENTATION_FAULT, keys[200]: _WANT_OF_MEMORY, keys[366]: _EXIT})
    # neighbours that fail alike: a half of nothing but them must not be taken for a fault of the model
    workspace.sql('UPDATE applicants SET "Education" = NULL WHERE "Loan_ID" IN (:a, :b)', {"a": keys[1], "b": keys[2]})

    run = _isolated(workspace, monkeypatch)

    assert (run.scored_count, run.quarantined_count) == (362, 5)
    assert _entries(workspace) == sorted(
        [(keys[i], "model_crash") for i in (0, 200, 366)] + [(keys[i], "missing_value") for i in (1, 2)]
    )
    by_hand = loan_model.pipeline.predict_proba(pd.read_csv(DATA / "loan_test.csv").query("Loan_ID == @keys[100]"))
    stored = workspace.scalar('SELECT score FROM predictions WHERE "Loan_ID" = :k', k=keys[100])
    assert stored == pytest.approx(by_hand[0, list(loan_model.pipeline.classes_).index("Y")], abs=1e-12)


@pytest.mark.slow
def test_where_every_row_kills_the_process_the_run_fails_and_blames_no_row(
    sqlite_workspace: Workspace, loan_model: TrainedModel, fragile: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = _prepare(sqlite_workspace, loan_model, fragile)
    workspace.sql('UPDATE applicants SET "LoanAmount" = 222222')
    with pytest.raises(WorkerCrashed, match="the rows are not the cause"):
        _isolated(workspace, monkeypatch)
    assert workspace.scalar("SELECT count(*) FROM predictions") == 0
    assert _entries(workspace) == []
    assert workspace.query("SELECT status, error_type FROM scoring_runs") == [("failed", "WorkerCrashed")]


@pytest.mark.slow
def test_workers_that_die_lead_to_isolation_too(
    postgresql_workspace: Workspace, loan_model: TrainedModel, fragile: Any
) -> None:
    job = LOAN_JOB.replace("# chunk_rows = 50000", "chunk_rows = 100")
    workspace = _prepare(postgresql_workspace, loan_model, fragile, job=job)
    # one in each chunk: a run with a single chunk left needs no workers, and would die itself
    keys = [key for (key,) in workspace.query('SELECT "Loan_ID" FROM applicants ORDER BY "Loan_ID"')]
    deadly = [keys[position] for position in (0, 150, 250, 366)]
    _spoil(workspace, dict.fromkeys(deadly, _WANT_OF_MEMORY))
    for _ in range(2):
        dead = workspace.cli("run", "loan_eligibility", "--workers", "2")
        assert dead.returncode == 1, dead.stderr
        assert "worker process ended without reporting a result" in dead.stderr
    assert workspace.cli("run", "loan_eligibility", "--workers", "2").returncode == 0
    assert _entries(workspace) == [(key, "model_crash") for key in deadly]
    assert workspace.scalar("SELECT count(*) FROM predictions_current") == 363
    assert_counters_equal_rows(workspace)
