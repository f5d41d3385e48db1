"""The schema: one authority, applied once or a hundred times, by us or by hand, and what its constraints refuse."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from alembic.config import Config
from alembic.script import ScriptDirectory
from databases import DATABASES, Databases
from schemas import (
    apply_script,
    create_source,
    described,
    job_text,
    ready_job,
    recorded_jobs,
)
from support import REPOSITORY, Workspace

from batch_scoring.domain.column_types import ColumnType, InputColumn
from batch_scoring.domain.job import Kind
from batch_scoring.domain.names import OWN_COLUMNS, TableName
from batch_scoring.store.engine.dialects.registered import dialect_named
from batch_scoring.store.schema import job_tables, script
from batch_scoring.store.schema.tables import SCHEMA_REVISION
from batch_scoring.store.schema.views import PER_JOB, SHARED

KINDS: list[Kind] = ["binary", "multiclass", "regression"]


def test_the_revision_the_package_works_with_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(REPOSITORY / "sql" / "migrations"))

    assert ScriptDirectory.from_config(config).get_current_head() == SCHEMA_REVISION


def test_upgrades_at_once_in_two_processes_both_succeed(workspace: Workspace) -> None:
    create_source(workspace)
    workspace.write_job("loans", job_text())

    both = [workspace.start("db", "upgrade") for _ in range(2)]
    ends = [process.communicate(timeout=120) for process in both]

    assert [process.returncode for process in both] == [0, 0], ends
    assert sum("created predictions" in out for out, _ in ends) == 1
    assert [row["job"] for row in recorded_jobs(workspace)] == ["loans"]


@pytest.mark.parametrize("other", DATABASES)
def test_a_script_for_the_other_dialect_applies_to_it(
    workspace: Workspace, request: pytest.FixtureRequest, other: str
) -> None:
    create_source(workspace, "id BIGINT NOT NULL, code VARCHAR(8) NOT NULL, day DATE NOT NULL, PRIMARY KEY (id)")
    job = workspace.write_job("loans", job_text(key=["id", "code", "day"]))
    with workspace.database() as database:
        printed = script.script(database, [job], dialect_named(other))
    databases: Databases = request.getfixturevalue(DATABASES[other])
    url = databases.create_database()

    apply_script(url, printed.sql)

    columns = described(url)["predictions"]["columns"]
    types = {column["name"]: column["type"] for column in columns}
    assert (types["id"], types["code"], types["day"]) == ("BIGINT", "VARCHAR(8)", "DATE")


def test_the_script_names_the_jobs_it_leaves_out(workspace: Workspace) -> None:
    job = workspace.write_job("loans", job_text(table="nowhere"))
    workspace.upgrade()

    with workspace.database() as database:
        printed = script.script(database, [job], dialect_named("postgresql"))

    (reason,) = printed.left_out
    assert "job loans" in reason
    assert "nowhere" in reason
    assert "CREATE TABLE scoring_runs" in printed.sql
    assert "CREATE TABLE predictions" not in printed.sql


@pytest.mark.parametrize("kind", KINDS)
def test_every_table_view_and_column_has_a_comment(postgresql_workspace: Workspace, kind: Kind) -> None:
    create_source(postgresql_workspace, "branch TEXT, number BIGINT, PRIMARY KEY (branch, number)")
    postgresql_workspace.write_job("loans", job_text(key=["branch", "number"], kind=kind))
    postgresql_workspace.upgrade()

    commented = postgresql_workspace.query(
        "SELECT c.relname, obj_description(c.oid, 'pg_class') IS NOT NULL FROM pg_class c"
        " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v')"
        " AND c.relname NOT IN ('applicants', 'alembic_version')"
    )
    columns = postgresql_workspace.query(
        "SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
        " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v') AND a.attnum > 0"
        " AND NOT a.attisdropped AND c.relname NOT IN ('applicants', 'alembic_version')"
        " AND coalesce(col_description(c.oid, a.attnum), '') = ''"
    )

    assert {name for name, _ in commented} == {
        "scoring_runs",
        "model_versions",
        "model_promotions",
        "model_proposals",
        "model_archivals",
        "model_signatures",
        "mlflow_versions",
        "mlflow_resolutions",
        "rescore_requests",
        "record_chain",
        "legal_holds",
        "scoring_jobs",
        "scoring_chunks",
        "scoring_profiles",
        "held_run_decisions",
        "drift_reports",
        "drift_metrics",
        "drift_alerts",
        "drift_mutes",
        "monitoring_limits",
        "outcome_readings",
        "performance_reports",
        "performance_metrics",
        "performance_bands",
        "decision_counts",
        "fairness_reports",
        "predictions",
        "predictions_superseded",
        "predictions_quarantine",
        "predictions_quarantine_closed",
        "predictions_challengers",
        *SHARED,
        *(f"predictions_{view}" for view in PER_JOB),
    }
    assert [name for name, has_comment in commented if not has_comment] == []
    assert columns == []


def test_tables_in_a_schema_of_their_own_are_made_there(postgresql_workspace: Workspace) -> None:
    postgresql_workspace.sql("CREATE SCHEMA scores")
    postgresql_workspace.sql("CREATE TABLE scores.predictions_of_old (id INTEGER)")
    layout = ready_job(postgresql_workspace, predictions="scores.predictions")

    assert layout.table == TableName("scores", "predictions")
    assert postgresql_workspace.query("SELECT * FROM scores.predictions") == []
    assert postgresql_workspace.query("SELECT * FROM scores.predictions_quarantine") == []
    assert postgresql_workspace.query("SELECT * FROM scores.predictions_current") == []


def test_the_names_that_a_key_may_not_have_are_the_columns_of_a_jobs_tables_and_views(workspace: Workspace) -> None:
    layout = ready_job(workspace)
    with workspace.database() as database:
        job_tables.ensure_inputs(database, layout, [InputColumn(name="income", type=ColumnType.NUMBER)])
    tables = (
        "predictions",
        "predictions_quarantine",
        "predictions_inputs",
        "predictions_current",
        "predictions_history",
    )
    with workspace.database() as database, database.read() as connection:
        inspector = sa.inspect(connection)
        found = {column["name"] for table in tables for column in inspector.get_columns(table)}

    assert found - {"id", "income"} == OWN_COLUMNS
