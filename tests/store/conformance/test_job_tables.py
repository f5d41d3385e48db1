"""The tables and views of a job: what they are created for, and what is left alone."""

from __future__ import annotations

import pytest
from schemas import (
    create_source,
    described,
    insert_prediction,
    job_text,
    layout_in,
    ready_job,
    recorded_jobs,
)
from support import Workspace

from batch_scoring.domain.job import Job
from batch_scoring.errors import (
    BatchScoringError,
    ConfigurationError,
    DatabaseFault,
    SourceFault,
)
from batch_scoring.store.engine.sql_types import FOREVER
from batch_scoring.store.schema import job_tables, upgrade


def test_the_view_of_current_predictions_shows_the_open_one_of_each_key_and_its_model(workspace: Workspace) -> None:
    layout = ready_job(workspace)
    workspace.sql(
        "INSERT INTO scoring_runs (run_id, job, trigger, status, started_at, heartbeat_at, finished_at, end_reason,"
        " model_name, host, process_id, package_version, environment, job_config, requested_by) VALUES (1, 'loans',"
        " 'cli', 'succeeded', '2026-01-01 00:00:00.000000', '2026-01-01 00:00:00.000000', "
        " '2026-01-01 00:00:04.000000', 'completed', 'loans', 'h', 1, '1', '{}', '{}', 'me')"
    )
    closed = FOREVER.replace(year=2026, day=1)
    insert_prediction(workspace, layout, id=1, score=0.1, valid_from=closed.replace(year=2025), valid_to=closed)
    insert_prediction(workspace, layout, id=1, score=0.2, valid_from=closed)

    assert workspace.query("SELECT id, score, prediction, model_name FROM predictions_current") == [
        (1, 0.2, "Y", "loans")
    ]
    (seconds,) = workspace.query("SELECT run_id, seconds FROM run_history")
    assert (seconds[0], float(seconds[1])) == (1, 4.0)


def test_a_job_whose_key_changed_is_refused_by_name_of_table_and_both_keys(workspace: Workspace) -> None:
    create_source(workspace, "id BIGINT NOT NULL PRIMARY KEY, branch BIGINT NOT NULL")
    workspace.write_job("loans", job_text())
    workspace.upgrade()
    changed = workspace.write_job("loans", job_text(key=["branch", "id"]))

    _assert_refused_as_made_for_something_else(workspace, changed, "key_columns")


def test_a_job_whose_key_type_changed_is_refused(workspace: Workspace) -> None:
    ready_job(workspace)
    workspace.sql("ALTER TABLE applicants RENAME TO former")
    create_source(workspace, "id VARCHAR(20) NOT NULL PRIMARY KEY")

    _assert_refused_as_made_for_something_else(workspace, workspace.job("loans"), "key_columns")


def test_a_job_whose_kind_changed_is_refused(workspace: Workspace) -> None:
    ready_job(workspace)
    changed = workspace.write_job("loans", job_text(kind="regression"))

    _assert_refused_as_made_for_something_else(workspace, changed, "kind")


def _assert_refused_as_made_for_something_else(workspace: Workspace, job: Job, what: str) -> None:
    layout = layout_in(workspace, job)
    with workspace.database() as database:
        for attempt in (
            lambda: upgrade.upgrade(database, [job]),
            lambda: job_tables.ensure_tables(database, job, layout),
        ):
            with pytest.raises(ConfigurationError) as refused:
                attempt()
            (problem,) = refused.value.problems
            assert (problem.where, problem.key) == ("job loans", "predictions.table")
            assert "predictions was created for something else" in problem.message
            assert what in problem.message
            assert "name another table" in problem.message


def test_a_job_that_then_names_another_table_gets_it_and_keeps_the_history_of_the_first(workspace: Workspace) -> None:
    layout = ready_job(workspace)
    insert_prediction(workspace, layout, id=1)
    changed = workspace.write_job("loans", job_text(kind="regression", predictions="amounts"))

    with workspace.database() as database:
        done = upgrade.upgrade(database, [changed])

    assert done.created == ("amounts",)
    assert workspace.scalar("SELECT count(*) FROM amounts") == 0
    assert workspace.scalar("SELECT count(*) FROM predictions") == 1


@pytest.mark.parametrize("foreign", ["predictions", "predictions_quarantine"])
def test_a_foreign_table_of_the_same_name_is_refused_and_left_alone(workspace: Workspace, foreign: str) -> None:
    create_source(workspace)
    job = workspace.write_job("loans", job_text())
    with workspace.database() as database:
        upgrade.upgrade(database, [])
    workspace.sql(f"CREATE TABLE {foreign} (id INTEGER)")
    workspace.sql(f"INSERT INTO {foreign} VALUES (7)")
    layout = layout_in(workspace, job)

    with workspace.database() as database:
        for attempt in (
            lambda: upgrade.upgrade(database, [job]),
            lambda: job_tables.ensure_tables(database, job, layout),
        ):
            with pytest.raises(ConfigurationError, match=f"{foreign} exists already.*name another table"):
                attempt()

    assert workspace.query(f"SELECT * FROM {foreign}") == [(7,)]
    assert recorded_jobs(workspace) == []


@pytest.mark.parametrize(
    "form", ["TABLE predictions_current (id INTEGER)", "VIEW predictions_current AS SELECT 7 AS id"]
)
def test_a_foreign_view_or_table_named_like_our_view_is_refused_and_left_alone(workspace: Workspace, form: str) -> None:
    create_source(workspace)
    workspace.write_job("loans", job_text())
    workspace.sql(f"CREATE {form}")
    before = described(workspace.database_url)

    with pytest.raises(BatchScoringError):
        workspace.upgrade()

    assert described(workspace.database_url) == before


def test_the_predictions_table_of_another_job_is_refused(workspace: Workspace) -> None:
    ready_job(workspace)
    with workspace.database() as database:
        other = Job.model_validate({**workspace.job("loans").model_dump(), "name": "cards"})
        with pytest.raises((ConfigurationError, DatabaseFault), match="predictions"):
            upgrade.upgrade(database, [other])

    assert [row["job"] for row in recorded_jobs(workspace)] == ["loans"]


def test_key_columns_carry_the_types_of_the_source(workspace: Workspace) -> None:
    types = {"a": "BIGINT", "b": "VARCHAR(12)", "c": "DATE", "d": "NUMERIC(20, 3)"}
    create_source(workspace, ", ".join(f"{name} {ddl} NOT NULL" for name, ddl in types.items()))
    workspace.write_job("loans", job_text(key=list(types)))
    workspace.upgrade()

    for table in ("predictions", "predictions_quarantine"):
        columns = {column["name"]: column["type"] for column in described(workspace.database_url)[table]["columns"]}
        assert {name: columns[name] for name in types} == types
        assert columns["source_changed_at"].startswith("TIMESTAMP")


@pytest.mark.parametrize("ddl", ["REAL", "DOUBLE PRECISION", "FLOAT"])
def test_a_key_of_an_inexact_type_is_refused_by_name(workspace: Workspace, ddl: str) -> None:
    create_source(workspace, f"id {ddl} NOT NULL PRIMARY KEY")
    job = workspace.write_job("loans", job_text())

    with pytest.raises(SourceFault, match="key column id is of the inexact type"):
        layout_in(workspace, job)
