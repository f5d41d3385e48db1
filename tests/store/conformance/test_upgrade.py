"""Upgrades and scripts: they make the same schema, once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from schemas import (
    apply_script,
    create_source,
    described,
    insert_prediction,
    job_text,
    layout_in,
    ready_job,
    recorded_jobs,
)
from sql_words import words_of
from support import Workspace

from batch_scoring.domain.job import Kind
from batch_scoring.errors import (
    ConfigurationError,
    SchemaOutOfDate,
)
from batch_scoring.store.engine.database import Database
from batch_scoring.store.schema import job_tables, revision, script, upgrade
from batch_scoring.store.schema.tables import SCHEMA_REVISION, metadata
from batch_scoring.store.schema.views import SHARED

AWKWARD = '100% "sure": the key'


def test_migrations_make_what_the_schema_module_says(workspace: Workspace) -> None:
    workspace.upgrade()

    with workspace.database() as database, database.read() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"compare_type": True, "compare_server_default": words_of(workspace.dialect).compares_defaults},
        )
        assert compare_metadata(context, metadata) == []


def test_migrations_and_the_schema_module_make_the_same_tables_constraints_and_comments(
    workspace: Workspace, second_url: str
) -> None:
    workspace.upgrade()
    declared = Database(second_url)
    with declared.write(create=True) as connection:
        metadata.create_all(connection)
    declared.dispose()

    migrated = described(workspace.database_url, without=("alembic_version", *SHARED))
    assert migrated == described(second_url)


def test_a_second_upgrade_changes_nothing(workspace: Workspace) -> None:
    ready_job(workspace)
    before = described(workspace.database_url)
    jobs = workspace.query("SELECT job, created_at FROM scoring_jobs")

    with workspace.database() as database:
        again = upgrade.upgrade(database, [workspace.job("loans")])

    assert (again.revision_before, again.revision, again.created, again.waiting) == (
        SCHEMA_REVISION,
        SCHEMA_REVISION,
        (),
        (),
    )
    assert described(workspace.database_url) == before
    assert workspace.query("SELECT job, created_at FROM scoring_jobs") == jobs


def test_an_upgrade_says_what_it_made_and_which_jobs_wait_for_their_source(workspace: Workspace) -> None:
    create_source(workspace)
    there = workspace.write_job("loans", job_text())
    missing = workspace.write_job("cards", job_text(table="cardholders", predictions="card_predictions"))

    with workspace.database() as database:
        done = upgrade.upgrade(database, [there, missing])

    assert (done.revision_before, done.created) == (None, ("predictions",))
    (waiting,) = done.waiting
    assert waiting.where == "job cards"
    assert "cardholders" in waiting.message
    assert [row["job"] for row in recorded_jobs(workspace)] == ["loans"]


def test_an_upgrade_keeps_predictions_and_runs(workspace: Workspace) -> None:
    layout = ready_job(workspace)
    insert_prediction(workspace, layout, id=1)
    before = workspace.query("SELECT * FROM predictions")

    workspace.upgrade()

    assert workspace.query("SELECT * FROM predictions") == before


def test_many_upgrades_at_once_take_turns(workspace: Workspace) -> None:
    create_source(workspace)
    job = workspace.write_job("loans", job_text())
    start = Barrier(4)

    def upgrade_once(_: int) -> upgrade.Upgrade:
        with workspace.database() as database:
            start.wait()
            return upgrade.upgrade(database, [job])

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(upgrade_once, range(4)))

    assert sorted(one.created for one in done) == [(), (), (), ("predictions",)]
    assert sorted(str(one.revision_before) for one in done) == [SCHEMA_REVISION] * 3 + ["None"]


def test_of_many_jobs_first_runs_at_once_one_makes_the_tables_and_all_find_them(workspace: Workspace) -> None:
    workspace.upgrade()
    create_source(workspace)
    job = workspace.write_job("loans", job_text())
    layout = layout_in(workspace, job)
    start = Barrier(6)

    def make(_: int) -> bool:
        with workspace.database() as database:
            start.wait()
            return job_tables.ensure_tables(database, job, layout)

    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(make, range(6)))

    assert sorted(made) == [False] * 5 + [True]
    assert workspace.query("SELECT * FROM predictions_current") == []


@pytest.mark.slow
def test_an_upgrade_that_fails_leaves_nothing_behind(workspace: Workspace) -> None:
    create_source(workspace)
    workspace.sql("CREATE TABLE predictions (id INTEGER)")
    workspace.write_job("loans", job_text())
    before = described(workspace.database_url)

    with pytest.raises(ConfigurationError):
        workspace.upgrade()

    assert described(workspace.database_url) == before


def test_a_database_without_our_schema_is_named_with_the_command_that_makes_it(workspace: Workspace) -> None:
    workspace.sql("CREATE TABLE something (id INTEGER)")

    with (
        workspace.database() as database,
        database.read() as connection,
        pytest.raises(SchemaOutOfDate, match=r"has no batch_scoring schema.*batch-scoring db upgrade"),
    ):
        revision.check_revision(connection)


def test_a_database_of_another_revision_is_named_with_both_revisions(workspace: Workspace) -> None:
    workspace.upgrade()
    workspace.sql("UPDATE alembic_version SET version_num = '0999'")

    with (
        workspace.database() as database,
        database.read() as connection,
        pytest.raises(SchemaOutOfDate, match=f"0999.*{SCHEMA_REVISION}.*newer"),
    ):
        revision.check_revision(connection)


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_the_script_applied_by_hand_makes_what_upgrade_makes(workspace: Workspace, second_url: str, kind: Kind) -> None:
    create_source(workspace, 'branch VARCHAR(20), "Loan_ID" BIGINT NOT NULL, PRIMARY KEY (branch, "Loan_ID")')
    job = workspace.write_job("loans", job_text(key=["branch", "Loan_ID"], kind=kind))
    dialect = workspace.dialect
    with workspace.database() as database:
        printed = script.script(database, [job], dialect)
    assert printed.left_out == ()

    apply_script(second_url, printed.sql)
    workspace.upgrade()

    assert described(workspace.database_url, without=["applicants"]) == described(second_url)
    assert recorded_jobs(workspace) == recorded_jobs(workspace, second_url)
    version = Workspace(workspace.folder, second_url).scalar("SELECT version_num FROM alembic_version")
    assert version == SCHEMA_REVISION


def test_the_script_spells_awkward_column_names_as_upgrade_does(workspace: Workspace, second_url: str) -> None:
    quoted = '"' + AWKWARD.replace('"', '""') + '"'
    workspace.sql(f"CREATE TABLE applicants ({quoted.replace(':', chr(92) + ':')} BIGINT PRIMARY KEY, updated_at DATE)")
    job = workspace.write_job("loans", job_text(key=[AWKWARD]))
    dialect = workspace.dialect
    with workspace.database() as database:
        printed = script.script(database, [job], dialect)

    apply_script(second_url, printed.sql)
    workspace.upgrade()

    by_upgrade = described(workspace.database_url, without=["applicants"])
    assert by_upgrade["predictions"]["columns"][0]["name"] == AWKWARD
    assert by_upgrade["predictions_quarantine"]["columns"][0]["name"] == AWKWARD
    assert by_upgrade["predictions_current"]["columns"][0]["name"] == AWKWARD
    assert by_upgrade == described(second_url)
    assert recorded_jobs(workspace) == recorded_jobs(workspace, second_url)


def test_an_upgrade_after_the_script_finds_everything_in_place(workspace: Workspace) -> None:
    create_source(workspace)
    job = workspace.write_job("loans", job_text())
    dialect = workspace.dialect
    with workspace.database() as database:
        printed = script.script(database, [job], dialect)
    apply_script(workspace.database_url, printed.sql)
    before = described(workspace.database_url)

    with workspace.database() as database:
        done = upgrade.upgrade(database, [job])

    assert (done.revision_before, done.created, done.waiting) == (SCHEMA_REVISION, (), ())
    assert described(workspace.database_url) == before
