"""The schema: one authority, applied once or a hundred times, by us or by hand, and what its constraints refuse."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from support import REPOSITORY, PostgresServer, Workspace

from batch_scoring.domain.column_types import ColumnType, InputColumn
from batch_scoring.domain.job import Job, Kind
from batch_scoring.domain.names import OWN_COLUMNS, TableName
from batch_scoring.errors import (
    BatchScoringError,
    ConfigurationError,
    ConstraintViolated,
    DatabaseFault,
    SchemaOutOfDate,
    SourceFault,
)
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.dialects.registered import dialect_named
from batch_scoring.store.engine.sql_types import FOREVER
from batch_scoring.store.schema import job_tables, revision, script, upgrade
from batch_scoring.store.schema.layout import PredictionsLayout, layout_of
from batch_scoring.store.schema.tables import SCHEMA_REVISION, metadata
from batch_scoring.store.schema.views import PER_JOB, SHARED
from batch_scoring.store.source.table import SourceTable

AWKWARD = '100% "sure": the key'
KINDS: list[Kind] = ["binary", "multiclass", "regression"]


def _job_text(
    *, table: str = "applicants", key: Sequence[str] = ("id",), predictions: str = "predictions", kind: Kind = "binary"
) -> str:
    label = 'positive_label = "Y"' if kind == "binary" else ""
    return f"""
[source]
table = {json.dumps(table)}
key = {json.dumps(list(key))}
changed_at = "updated_at"
[model]
name = "loans"
[predictions]
table = {json.dumps(predictions)}
kind = "{kind}"
{label}
"""


def _create_source(workspace: Workspace, columns: str = "id BIGINT NOT NULL PRIMARY KEY") -> None:
    workspace.sql(f"CREATE TABLE applicants (updated_at TIMESTAMP, {columns})")


def _ready(workspace: Workspace, **job: Any) -> PredictionsLayout:
    _create_source(workspace)
    written = workspace.write_job("loans", _job_text(**job))
    workspace.upgrade()
    return _layout(workspace, written)


def _layout(workspace: Workspace, job: Job) -> PredictionsLayout:
    with workspace.database() as database, database.read() as connection:
        return layout_of(job, SourceTable.inspect(database, connection, job))


def _described(url: str, *, without: Sequence[str] = ()) -> dict[str, Any]:
    """Everything a database says about its tables, views, columns, constraints and comments."""
    database = Database(url)
    try:
        with database.write(create=True) as connection:
            inspector = sa.inspect(connection)
            names = {*inspector.get_table_names(), *inspector.get_view_names()} - set(without)
            found: dict[str, Any] = {name: _described_table(connection, inspector, name) for name in sorted(names)}
            found["as the database words it"] = [
                row for row in _own_words(connection) if not any(name == row[0] for name in without)
            ]
            return found
    finally:
        database.dispose()


def _described_table(connection: sa.Connection, inspector: sa.Inspector, name: str) -> dict[str, Any]:
    columns = [{**column, "type": _type(connection, column["type"])} for column in inspector.get_columns(name)]
    is_view = name in inspector.get_view_names()
    return {
        "columns": columns,
        "comment": inspector.get_table_comment(name) if connection.dialect.supports_comments else None,
        "definition": _squeezed(inspector.get_view_definition(name)) if is_view else None,
        "primary key": None if is_view else inspector.get_pk_constraint(name),
        "foreign keys": None if is_view else sorted(map(str, inspector.get_foreign_keys(name))),
        "unique": None if is_view else sorted(map(str, inspector.get_unique_constraints(name))),
        "checks": None if is_view else sorted(map(str, inspector.get_check_constraints(name))),
        "indexes": None if is_view else sorted(map(_index, inspector.get_indexes(name))),
    }


def _index(index: Any) -> str:
    """An index as text, its condition included, which SQLAlchemy gives as an object on SQLite."""
    options = {name: str(value) for name, value in index.get("dialect_options", {}).items()}
    return str({**index, "dialect_options": options})


def _type(connection: sa.Connection, declared: sa.types.TypeEngine[Any]) -> str | None:
    is_untold = isinstance(declared, sa.types.NullType)  # as for the columns of an SQLite view
    return None if is_untold else declared.compile(dialect=connection.dialect)


def _own_words(connection: sa.Connection) -> list[tuple[Any, ...]]:
    if connection.dialect.name == "sqlite":
        query = "SELECT tbl_name, type, name, sql FROM sqlite_master ORDER BY 1, 2, 3"
        return [(*row[:3], _squeezed(row[3])) for row in connection.execute(sa.text(query))]
    query = (
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2"
    )
    return [tuple(row) for row in connection.execute(sa.text(query))]


def _squeezed(statement: str | None) -> str | None:
    return re.sub(r"\s+", " ", statement).strip() if statement else statement


def _jobs(workspace: Workspace, url: str | None = None) -> list[dict[str, Any]]:
    """The rows of scoring_jobs without the time."""
    other = Workspace(workspace.folder, url or workspace.database_url)
    query = "SELECT job, predictions_table, kind, key_columns, changed_at_type FROM scoring_jobs ORDER BY job"
    names = ("job", "predictions_table", "kind", "key_columns", "changed_at_type")
    rows = [dict(zip(names, row, strict=True)) for row in other.query(query)]
    for row in rows:
        if isinstance(row["key_columns"], str):
            row["key_columns"] = json.loads(row["key_columns"])
    return rows


def _statements(script: str, dialect: str) -> Iterator[str]:
    """A script cut at the ends of its statements, as a person would paste them."""
    if dialect == "postgresql":
        yield from (part for part in re.split(r";[ \t]*$", script, flags=re.MULTILINE) if part.strip())
        return
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    assert not statement.strip(), f"the script ends inside a statement: {statement}"


def _apply_by_hand(url: str, script: str) -> None:
    made = sa.make_url(url)
    if made.get_backend_name() == "sqlite":
        assert made.database
        with sqlite3.connect(made.database, isolation_level=None) as by_hand:
            for statement in _statements(script, "sqlite"):
                by_hand.execute(statement)
        by_hand.close()
        return
    engine = sa.create_engine(
        made.set(drivername="postgresql+psycopg2"), isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool
    )
    with engine.connect() as connection:
        cursor = connection.connection.cursor()
        for statement in _statements(script, "postgresql"):
            cursor.execute(statement)
        cursor.close()


@pytest.fixture
def second_url(workspace: Workspace, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Another empty database of the same kind."""
    if workspace.is_postgresql:
        server: PostgresServer = request.getfixturevalue("postgres")
        return server.create_database()
    return f"sqlite:///{tmp_path / 'second.db'}"


def test_migrations_make_what_the_schema_module_says(workspace: Workspace) -> None:
    workspace.upgrade()

    with workspace.database() as database, database.read() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": not workspace.is_postgresql}
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

    migrated = _described(workspace.database_url, without=("alembic_version", *SHARED))
    assert migrated == _described(second_url)


def test_the_revision_the_package_works_with_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(REPOSITORY / "sql" / "migrations"))

    assert ScriptDirectory.from_config(config).get_current_head() == SCHEMA_REVISION


def test_a_second_upgrade_changes_nothing(workspace: Workspace) -> None:
    _ready(workspace)
    before = _described(workspace.database_url)
    jobs = workspace.query("SELECT job, created_at FROM scoring_jobs")

    with workspace.database() as database:
        again = upgrade.upgrade(database, [workspace.job("loans")])

    assert (again.revision_before, again.revision, again.created, again.waiting) == (
        SCHEMA_REVISION,
        SCHEMA_REVISION,
        (),
        (),
    )
    assert _described(workspace.database_url) == before
    assert workspace.query("SELECT job, created_at FROM scoring_jobs") == jobs


def test_an_upgrade_says_what_it_made_and_which_jobs_wait_for_their_source(workspace: Workspace) -> None:
    _create_source(workspace)
    there = workspace.write_job("loans", _job_text())
    missing = workspace.write_job("cards", _job_text(table="cardholders", predictions="card_predictions"))

    with workspace.database() as database:
        done = upgrade.upgrade(database, [there, missing])

    assert (done.revision_before, done.created) == (None, ("predictions",))
    (waiting,) = done.waiting
    assert waiting.where == "job cards"
    assert "cardholders" in waiting.message
    assert [row["job"] for row in _jobs(workspace)] == ["loans"]


def test_an_upgrade_keeps_predictions_and_runs(workspace: Workspace) -> None:
    layout = _ready(workspace)
    _insert(workspace, layout, id=1)
    before = workspace.query("SELECT * FROM predictions")

    workspace.upgrade()

    assert workspace.query("SELECT * FROM predictions") == before


def test_upgrades_at_once_in_two_processes_both_succeed(workspace: Workspace) -> None:
    _create_source(workspace)
    workspace.write_job("loans", _job_text())

    both = [workspace.start("db", "upgrade") for _ in range(2)]
    ends = [process.communicate(timeout=120) for process in both]

    assert [process.returncode for process in both] == [0, 0], ends
    assert sum("created predictions" in out for out, _ in ends) == 1
    assert [row["job"] for row in _jobs(workspace)] == ["loans"]


def test_many_upgrades_at_once_take_turns(workspace: Workspace) -> None:
    _create_source(workspace)
    job = workspace.write_job("loans", _job_text())
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
    _create_source(workspace)
    job = workspace.write_job("loans", _job_text())
    layout = _layout(workspace, job)
    start = Barrier(6)

    def make(_: int) -> bool:
        with workspace.database() as database:
            start.wait()
            return job_tables.ensure_tables(database, job, layout)

    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(make, range(6)))

    assert sorted(made) == [False] * 5 + [True]
    assert workspace.query("SELECT * FROM predictions_current") == []


def test_an_upgrade_that_fails_leaves_nothing_behind(workspace: Workspace) -> None:
    _create_source(workspace)
    workspace.sql("CREATE TABLE predictions (id INTEGER)")
    workspace.write_job("loans", _job_text())
    before = _described(workspace.database_url)

    with pytest.raises(ConfigurationError):
        workspace.upgrade()

    assert _described(workspace.database_url) == before


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
    _create_source(workspace, 'branch VARCHAR(20), "Loan_ID" BIGINT NOT NULL, PRIMARY KEY (branch, "Loan_ID")')
    job = workspace.write_job("loans", _job_text(key=["branch", "Loan_ID"], kind=kind))
    dialect = workspace.dialect
    with workspace.database() as database:
        printed = script.script(database, [job], dialect)
    assert printed.left_out == ()

    _apply_by_hand(second_url, printed.sql)
    workspace.upgrade()

    assert _described(workspace.database_url, without=["applicants"]) == _described(second_url)
    assert _jobs(workspace) == _jobs(workspace, second_url)
    version = Workspace(workspace.folder, second_url).scalar("SELECT version_num FROM alembic_version")
    assert version == SCHEMA_REVISION


def test_the_script_spells_awkward_column_names_as_upgrade_does(workspace: Workspace, second_url: str) -> None:
    quoted = '"' + AWKWARD.replace('"', '""') + '"'
    workspace.sql(f"CREATE TABLE applicants ({quoted.replace(':', chr(92) + ':')} BIGINT PRIMARY KEY, updated_at DATE)")
    job = workspace.write_job("loans", _job_text(key=[AWKWARD]))
    dialect = workspace.dialect
    with workspace.database() as database:
        printed = script.script(database, [job], dialect)

    _apply_by_hand(second_url, printed.sql)
    workspace.upgrade()

    by_upgrade = _described(workspace.database_url, without=["applicants"])
    assert by_upgrade["predictions"]["columns"][0]["name"] == AWKWARD
    assert by_upgrade["predictions_quarantine"]["columns"][0]["name"] == AWKWARD
    assert by_upgrade["predictions_current"]["columns"][0]["name"] == AWKWARD
    assert by_upgrade == _described(second_url)
    assert _jobs(workspace) == _jobs(workspace, second_url)


def test_an_upgrade_after_the_script_finds_everything_in_place(workspace: Workspace) -> None:
    _create_source(workspace)
    job = workspace.write_job("loans", _job_text())
    dialect = workspace.dialect
    with workspace.database() as database:
        printed = script.script(database, [job], dialect)
    _apply_by_hand(workspace.database_url, printed.sql)
    before = _described(workspace.database_url)

    with workspace.database() as database:
        done = upgrade.upgrade(database, [job])

    assert (done.revision_before, done.created, done.waiting) == (SCHEMA_REVISION, (), ())
    assert _described(workspace.database_url) == before


def test_a_script_for_the_other_dialect_applies_to_it(
    workspace: Workspace, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    _create_source(workspace, "id BIGINT NOT NULL, code VARCHAR(8) NOT NULL, day DATE NOT NULL, PRIMARY KEY (id)")
    job = workspace.write_job("loans", _job_text(key=["id", "code", "day"]))
    dialect = dialect_named("sqlite" if workspace.is_postgresql else "postgresql")
    with workspace.database() as database:
        printed = script.script(database, [job], dialect)
    if dialect.is_file:
        url = f"sqlite:///{tmp_path / 'other.db'}"
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        url = server.create_database()

    _apply_by_hand(url, printed.sql)

    columns = _described(url)["predictions"]["columns"]
    types = {column["name"]: column["type"] for column in columns}
    assert (types["id"], types["code"], types["day"]) == ("BIGINT", "VARCHAR(8)", "DATE")


def test_the_script_names_the_jobs_it_leaves_out(workspace: Workspace) -> None:
    job = workspace.write_job("loans", _job_text(table="nowhere"))
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
    _create_source(postgresql_workspace, "branch TEXT, number BIGINT, PRIMARY KEY (branch, number)")
    postgresql_workspace.write_job("loans", _job_text(key=["branch", "number"], kind=kind))
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
        "rescore_requests",
        "legal_holds",
        "scoring_jobs",
        "predictions",
        "predictions_quarantine",
        *SHARED,
        *(f"predictions_{view}" for view in PER_JOB),
    }
    assert [name for name, has_comment in commented if not has_comment] == []
    assert columns == []


def _insert(workspace: Workspace, layout: PredictionsLayout, **values: Any) -> None:
    """Insert a prediction by hand."""
    table = layout.predictions_table
    row = {
        "run_id": 1,
        "model_version": 1,
        "score": 0.5,
        "prediction": None if layout.kind == "regression" else "Y",
        "valid_from": FOREVER.replace(year=2026),
        "valid_to": FOREVER,
        **values,
    }
    with workspace.database() as database, database.write() as connection:
        connection.execute(sa.insert(table).values(row))


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_a_score_that_is_no_probability_is_refused(workspace: Workspace, kind: Kind) -> None:
    layout = _ready(workspace, kind=kind)

    for score in (float("nan"), float("inf"), float("-inf"), -1e-300, 1.0000000000000002, None):
        with pytest.raises(ConstraintViolated):
            _insert(workspace, layout, id=1, score=score)


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_a_prediction_without_its_label_is_refused(workspace: Workspace, kind: Kind) -> None:
    layout = _ready(workspace, kind=kind)

    with pytest.raises(ConstraintViolated):
        _insert(workspace, layout, id=1, prediction=None)


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_probabilities_from_zero_to_one_are_taken_exactly(workspace: Workspace, kind: Kind) -> None:
    layout = _ready(workspace, kind=kind)
    scores = [0.0, 5e-324, 0.1 + 0.2, 0.9999999999999999, 1.0]

    for id_, score in enumerate(scores):
        _insert(workspace, layout, id=id_, score=score)

    assert [score for (score,) in workspace.query("SELECT score FROM predictions ORDER BY id")] == scores


def test_a_regression_that_is_no_number_is_refused(workspace: Workspace) -> None:
    layout = _ready(workspace, kind="regression")

    for score in (float("nan"), float("inf"), float("-inf"), None):
        with pytest.raises(ConstraintViolated):
            _insert(workspace, layout, id=1, score=score)


def test_a_label_on_a_regression_is_refused(workspace: Workspace) -> None:
    layout = _ready(workspace, kind="regression")

    with pytest.raises(ConstraintViolated):
        _insert(workspace, layout, id=1, prediction="Y")


def test_every_finite_number_is_a_sound_regression(workspace: Workspace) -> None:
    layout = _ready(workspace, kind="regression")
    scores = [-1.7976931348623157e308, -1.5, -5e-324, 0.0, 1e300, 1.7976931348623157e308]

    for id_, score in enumerate(scores):
        _insert(workspace, layout, id=id_, score=score)

    assert [score for (score,) in workspace.query("SELECT score FROM predictions ORDER BY id")] == scores


def test_a_second_current_prediction_of_a_key_is_refused(workspace: Workspace) -> None:
    layout = _ready(workspace)
    _insert(workspace, layout, id=1)
    _insert(workspace, layout, id=2)

    with pytest.raises(ConstraintViolated):
        _insert(workspace, layout, id=1)


def test_a_prediction_that_ends_before_it_begins_is_refused(workspace: Workspace) -> None:
    layout = _ready(workspace)
    moment = FOREVER.replace(year=2026)

    with pytest.raises(ConstraintViolated):
        _insert(workspace, layout, id=1, valid_from=moment, valid_to=moment)


def test_a_key_that_is_null_is_refused(workspace: Workspace) -> None:
    layout = _ready(workspace)

    with pytest.raises(ConstraintViolated):
        _insert(workspace, layout, id=None)


def test_the_view_of_current_predictions_shows_the_open_one_of_each_key_and_its_model(workspace: Workspace) -> None:
    layout = _ready(workspace)
    workspace.sql(
        "INSERT INTO scoring_runs (run_id, job, trigger, status, started_at, heartbeat_at, finished_at, end_reason,"
        " model_name, host, process_id, package_version, environment, job_config, requested_by) VALUES (1, 'loans',"
        " 'cli', 'succeeded', '2026-01-01 00:00:00.000000', '2026-01-01 00:00:00.000000', "
        " '2026-01-01 00:00:04.000000', 'completed', 'loans', 'h', 1, '1', '{}', '{}', 'me')"
    )
    closed = FOREVER.replace(year=2026, day=1)
    _insert(workspace, layout, id=1, score=0.1, valid_from=closed.replace(year=2025), valid_to=closed)
    _insert(workspace, layout, id=1, score=0.2, valid_from=closed)

    assert workspace.query("SELECT id, score, prediction, model_name FROM predictions_current") == [
        (1, 0.2, "Y", "loans")
    ]
    (seconds,) = workspace.query("SELECT run_id, seconds FROM run_history")
    assert (seconds[0], float(seconds[1])) == (1, 4.0)


def test_a_job_whose_key_changed_is_refused_by_name_of_table_and_both_keys(workspace: Workspace) -> None:
    _create_source(workspace, "id BIGINT NOT NULL PRIMARY KEY, branch BIGINT NOT NULL")
    workspace.write_job("loans", _job_text())
    workspace.upgrade()
    changed = workspace.write_job("loans", _job_text(key=["branch", "id"]))

    _assert_refused_as_made_for_something_else(workspace, changed, "key_columns")


def test_a_job_whose_key_type_changed_is_refused(workspace: Workspace) -> None:
    _ready(workspace)
    workspace.sql("ALTER TABLE applicants RENAME TO former")
    _create_source(workspace, "id VARCHAR(20) NOT NULL PRIMARY KEY")

    _assert_refused_as_made_for_something_else(workspace, workspace.job("loans"), "key_columns")


def test_a_job_whose_kind_changed_is_refused(workspace: Workspace) -> None:
    _ready(workspace)
    changed = workspace.write_job("loans", _job_text(kind="regression"))

    _assert_refused_as_made_for_something_else(workspace, changed, "kind")


def _assert_refused_as_made_for_something_else(workspace: Workspace, job: Job, what: str) -> None:
    layout = _layout(workspace, job)
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
    layout = _ready(workspace)
    _insert(workspace, layout, id=1)
    changed = workspace.write_job("loans", _job_text(kind="regression", predictions="amounts"))

    with workspace.database() as database:
        done = upgrade.upgrade(database, [changed])

    assert done.created == ("amounts",)
    assert workspace.scalar("SELECT count(*) FROM amounts") == 0
    assert workspace.scalar("SELECT count(*) FROM predictions") == 1


@pytest.mark.parametrize("foreign", ["predictions", "predictions_quarantine"])
def test_a_foreign_table_of_the_same_name_is_refused_and_left_alone(workspace: Workspace, foreign: str) -> None:
    _create_source(workspace)
    job = workspace.write_job("loans", _job_text())
    with workspace.database() as database:
        upgrade.upgrade(database, [])
    workspace.sql(f"CREATE TABLE {foreign} (id INTEGER)")
    workspace.sql(f"INSERT INTO {foreign} VALUES (7)")
    layout = _layout(workspace, job)

    with workspace.database() as database:
        for attempt in (
            lambda: upgrade.upgrade(database, [job]),
            lambda: job_tables.ensure_tables(database, job, layout),
        ):
            with pytest.raises(ConfigurationError, match=f"{foreign} exists already.*name another table"):
                attempt()

    assert workspace.query(f"SELECT * FROM {foreign}") == [(7,)]
    assert _jobs(workspace) == []


@pytest.mark.parametrize(
    "form", ["TABLE predictions_current (id INTEGER)", "VIEW predictions_current AS SELECT 7 AS id"]
)
def test_a_foreign_view_or_table_named_like_our_view_is_refused_and_left_alone(workspace: Workspace, form: str) -> None:
    _create_source(workspace)
    workspace.write_job("loans", _job_text())
    workspace.sql(f"CREATE {form}")
    before = _described(workspace.database_url)

    with pytest.raises(BatchScoringError):
        workspace.upgrade()

    assert _described(workspace.database_url) == before


def test_the_predictions_table_of_another_job_is_refused(workspace: Workspace) -> None:
    _ready(workspace)
    with workspace.database() as database:
        other = Job.model_validate({**workspace.job("loans").model_dump(), "name": "cards"})
        with pytest.raises((ConfigurationError, DatabaseFault), match="predictions"):
            upgrade.upgrade(database, [other])

    assert [row["job"] for row in _jobs(workspace)] == ["loans"]


def test_tables_in_a_schema_of_their_own_are_made_there(postgresql_workspace: Workspace) -> None:
    postgresql_workspace.sql("CREATE SCHEMA scores")
    postgresql_workspace.sql("CREATE TABLE scores.predictions_of_old (id INTEGER)")
    layout = _ready(postgresql_workspace, predictions="scores.predictions")

    assert layout.table == TableName("scores", "predictions")
    assert postgresql_workspace.query("SELECT * FROM scores.predictions") == []
    assert postgresql_workspace.query("SELECT * FROM scores.predictions_quarantine") == []
    assert postgresql_workspace.query("SELECT * FROM scores.predictions_current") == []


def test_key_columns_carry_the_types_of_the_source(workspace: Workspace) -> None:
    types = {"a": "BIGINT", "b": "VARCHAR(12)", "c": "DATE", "d": "NUMERIC(20, 3)"}
    _create_source(workspace, ", ".join(f"{name} {ddl} NOT NULL" for name, ddl in types.items()))
    workspace.write_job("loans", _job_text(key=list(types)))
    workspace.upgrade()

    for table in ("predictions", "predictions_quarantine"):
        columns = {column["name"]: column["type"] for column in _described(workspace.database_url)[table]["columns"]}
        assert {name: columns[name] for name in types} == types
        assert columns["source_changed_at"].startswith("TIMESTAMP")


@pytest.mark.parametrize("ddl", ["REAL", "DOUBLE PRECISION", "FLOAT"])
def test_a_key_of_an_inexact_type_is_refused_by_name(workspace: Workspace, ddl: str) -> None:
    _create_source(workspace, f"id {ddl} NOT NULL PRIMARY KEY")
    job = workspace.write_job("loans", _job_text())

    with pytest.raises(SourceFault, match="key column id is of the inexact type"):
        _layout(workspace, job)


def test_the_names_that_a_key_may_not_have_are_the_columns_of_a_jobs_tables_and_views(workspace: Workspace) -> None:
    layout = _ready(workspace)
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
