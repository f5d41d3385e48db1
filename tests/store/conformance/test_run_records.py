"""What is recorded of a run: how it ended, its plan, its model; and how runs are found."""

from __future__ import annotations

import pytest
from run_steps import POLICY, get_run, open_run
from support import Workspace

from batch_scoring.domain.model_version import ModelVersion
from batch_scoring.domain.runs import Mode, Status
from batch_scoring.errors import BatchScoringError, ConstraintViolated, Fenced
from batch_scoring.store.runs import records


def test_a_run_that_succeeded_is_closed_and_gives_the_job_free(ready: Workspace) -> None:
    with ready.database() as database:
        run_id = open_run(database).run_id
        records.close_run(database, run_id)

        run = get_run(database, run_id)
        assert (run.status, run.error_type, run.error_message) == (Status.SUCCEEDED, None, None)
        assert run.finished_at is not None
        assert run.seconds is not None
        assert run.seconds >= 0
        assert records.running(database, "loans") is None
        assert open_run(database).run_id > run_id


def test_a_run_that_failed_says_why(ready: Workspace) -> None:
    with ready.database() as database:
        run_id = open_run(database).run_id
        records.close_run(database, run_id, error=ConstraintViolated("constraint x refused the write"))

        run = get_run(database, run_id)
        assert (run.status, run.error_type) == (Status.FAILED, "ConstraintViolated")
        assert run.error_message == "constraint x refused the write"


def test_a_run_that_ended_one_way_cannot_end_another_way(ready: Workspace) -> None:
    with ready.database() as database:
        run_id = open_run(database).run_id
        records.close_run(database, run_id)
        closed = get_run(database, run_id)

        with pytest.raises(Fenced):
            records.close_run(database, run_id, error=BatchScoringError("too late"))

        assert get_run(database, run_id) == closed


@pytest.mark.parametrize("error", [None, BatchScoringError("no")])
def test_closing_a_run_again_the_same_way_leaves_it_as_it_is(ready: Workspace, error: BatchScoringError | None) -> None:
    with ready.database() as database:
        run_id = open_run(database).run_id
        records.close_run(database, run_id, error=error)
        closed = get_run(database, run_id)

        records.close_run(database, run_id, error=error)

        assert get_run(database, run_id) == closed


def test_a_run_records_its_plan_its_model_and_its_environment(ready: Workspace) -> None:
    with ready.database() as database:
        run_id = open_run(database).run_id
        version = ModelVersion(
            name="loans",
            version=3,
            artifact_uri="loans/x.joblib",
            artifact_sha256="f" * 64,
            stored_manifest={},
            created_at=get_run(database, run_id).started_at,
            created_by="ada",
        )

        records.record_plan(database, run_id, mode="lookback", counts={"due_count": 2**40, "sweep_only_count": 7})
        records.record_model(database, run_id, version, POLICY)
        records.record_environment(database, run_id, {"scikit-learn": "1.8"})

        run = get_run(database, run_id)
        assert (run.mode, run.due_count, run.sweep_only_count) == ("lookback", 2**40, 7)
        assert (run.model_name, run.model_version, run.artifact_sha256) == ("loans", 3, "f" * 64)
        assert run.environment == {"scikit-learn": "1.8"}


def test_the_last_success_is_the_newest_succeeded_run_of_the_job(ready: Workspace) -> None:
    with ready.database() as database:
        assert records.last_success(database, "loans") is None
        succeeded = []
        for _ in range(2):
            succeeded.append(open_run(database).run_id)
            records.close_run(database, succeeded[-1])
        records.close_run(database, open_run(database).run_id, error=BatchScoringError("no"))
        records.close_run(database, open_run(database, "cards").run_id)
        open_run(database)

        found = records.last_success(database, "loans")
        assert found is not None
        assert found.run_id == succeeded[-1]
        assert records.last_success(database, "loans", mode="sweep") is None


def test_the_last_sweep_that_succeeded_is_found_behind_runs_of_the_other_mode(ready: Workspace) -> None:
    with ready.database() as database:
        modes: list[Mode] = ["sweep", "sweep", "lookback"]
        for mode in modes:
            run_id = open_run(database).run_id
            records.record_plan(database, run_id, mode=mode, counts={"due_count": 0})
            records.close_run(database, run_id)
        failed = open_run(database).run_id
        records.record_plan(database, failed, mode="sweep", counts={"due_count": 0})
        records.close_run(database, failed, error=BatchScoringError("no"))

        found = records.last_success(database, "loans", mode="sweep")
        assert found is not None
        assert (found.run_id, found.mode) == (2, "sweep")


def test_a_run_is_asked_to_stop_through_the_database(ready: Workspace) -> None:
    with ready.database() as database:
        run_id = open_run(database).run_id
        assert not records.is_stop_requested(database, run_id)
        records.request_stop(database, run_id)
        assert records.is_stop_requested(database, run_id)

        records.close_run(database, run_id)
        with pytest.raises(Fenced):
            records.request_stop(database, run_id)


def test_runs_are_listed_newest_first_by_job_and_up_to_a_limit(ready: Workspace) -> None:
    with ready.database() as database:
        opened = []
        for job in ("loans", "cards", "loans", "cards"):
            opened.append(open_run(database, job).run_id)
            records.close_run(database, opened[-1])

        assert [run.run_id for run in records.list_runs(database)] == opened[::-1]
        assert [run.run_id for run in records.list_runs(database, job="loans")] == [opened[2], opened[0]]
        assert [run.run_id for run in records.list_runs(database, limit=1)] == opened[-1:]
        assert records.list_runs(database, job="nobody's") == []


def test_the_running_run_is_found_by_its_job(ready: Workspace) -> None:
    with ready.database() as database:
        run_id = open_run(database).run_id

        running = records.running(database, "loans")
        assert running is not None
        assert running.run_id == run_id
        assert records.running(database, "cards") is None
        assert records.get_run(database, 4711) is None
