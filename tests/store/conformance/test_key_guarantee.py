"""Which keys the database keeps unique and not NULL, and what is reported of others."""

from __future__ import annotations

import keyed
import pytest
from source_desk import (
    APPLICANTS,
    THREE,
    Prepare,
    inspect_source,
    job_text,
)
from support import Workspace

from batch_scoring.errors import SourceFault
from batch_scoring.scoring.events import Event, RunPlanned

ENFORCED = {
    "primary key": ["CREATE TABLE customers (id BIGINT NOT NULL PRIMARY KEY, x DOUBLE PRECISION)"],
    "unique and not null": ["CREATE TABLE customers (id BIGINT NOT NULL UNIQUE, x DOUBLE PRECISION)"],
    "unique index and not null": [
        "CREATE TABLE customers (id BIGINT NOT NULL, x DOUBLE PRECISION)",
        "CREATE UNIQUE INDEX by_id ON customers (id)",
    ],
    "text primary key": ["CREATE TABLE customers (id VARCHAR(20) NOT NULL PRIMARY KEY, x DOUBLE PRECISION)"],
}
NOT_ENFORCED = {
    "nothing": ["CREATE TABLE customers (id BIGINT NOT NULL, x DOUBLE PRECISION)"],
    "index that is not unique": [
        "CREATE TABLE customers (id BIGINT NOT NULL, x DOUBLE PRECISION)",
        "CREATE INDEX by_id ON customers (id)",
    ],
    "unique and nullable": ["CREATE TABLE customers (id BIGINT UNIQUE, x DOUBLE PRECISION)"],
    "unique with another column": ["CREATE TABLE customers (id BIGINT NOT NULL, x BIGINT NOT NULL, UNIQUE (id, x))"],
    "view": [
        "CREATE TABLE raw_customers (id BIGINT NOT NULL PRIMARY KEY, x DOUBLE PRECISION)",
        "CREATE VIEW customers AS SELECT * FROM raw_customers",
    ],
}
"""What every database understands. One that does not know a form enforces nothing that is relied upon."""


@pytest.mark.parametrize("declared", ENFORCED)
def test_a_key_that_the_database_enforces_is_believed(workspace: Workspace, declared: str) -> None:
    keyed.execute(workspace, *ENFORCED[declared])

    source = keyed.inspected(workspace)

    assert source.guarantee.doubt is None
    assert source.key_is_enforced


@pytest.mark.parametrize("declared", NOT_ENFORCED)
def test_a_key_that_the_database_does_not_enforce_is_counted(workspace: Workspace, declared: str) -> None:
    keyed.execute(workspace, *NOT_ENFORCED[declared])

    source = keyed.inspected(workspace)

    assert not source.key_is_enforced
    assert source.guarantee.doubt
    keyed.check_key(workspace, source)


@pytest.mark.parametrize("condition", ["x > 5", "x IS NOT NULL"])
def test_a_partial_unique_index_is_not_believed(workspace: Workspace, condition: str) -> None:
    keyed.execute(
        workspace,
        "CREATE TABLE customers (id BIGINT NOT NULL, x DOUBLE PRECISION)",
        f"CREATE UNIQUE INDEX part ON customers (id) WHERE {condition}",
        "INSERT INTO customers VALUES (1, NULL), (1, 3)",
    )

    source = keyed.inspected(workspace)

    assert not source.key_is_enforced
    with pytest.raises(SourceFault, match="1 key occurs in 2 rows"):
        keyed.check_key(workspace, source)


@pytest.mark.parametrize("where", [None, "income > 0"])
def test_a_key_that_is_not_unique_is_reported_with_its_columns_and_counts(prepare: Prepare, where: str | None) -> None:
    desk = prepare(
        "CREATE TABLE applicants (id TEXT NOT NULL, branch TEXT NOT NULL, income INTEGER, updated_at TIMESTAMP)",
        "INSERT INTO applicants (id, branch, income) VALUES ('secret-a', 'x', 1), ('secret-a', 'x', 1),"
        " ('secret-a', 'y', 1), ('secret-b', 'x', 1), ('secret-b', 'x', 1), ('secret-b', 'x', 1), ('secret-c', 'x', 1)",
        key=["id", "branch"],
        where=where,
    )

    with (
        desk.database.read() as connection,
        pytest.raises(SourceFault, match=r"\(id, branch\) is not unique: 2 keys occur in 5 rows") as found,
    ):
        desk.source.check_key(connection)
    assert "secret" not in str(found.value)


def test_a_key_that_is_null_is_reported_with_its_columns_and_count(prepare: Prepare) -> None:
    desk = prepare(
        "CREATE TABLE applicants (id TEXT, branch TEXT, updated_at TIMESTAMP)",
        "INSERT INTO applicants (id, branch) VALUES ('a', NULL), (NULL, 'b'), (NULL, NULL), ('c', 'd')",
        key=["id", "branch"],
    )

    with desk.database.read() as connection, pytest.raises(SourceFault, match=r"\(id, branch\) is NULL in 3 rows"):
        desk.source.check_key(connection)


def test_a_key_is_judged_among_the_rows_of_where_only(prepare: Prepare) -> None:
    desk = prepare(
        "CREATE TABLE applicants (id INTEGER, status TEXT, updated_at TIMESTAMP)",
        "INSERT INTO applicants (id, status) VALUES (1, 'open'), (1, 'draft'), (NULL, 'draft'), (2, 'open')",
        where="status = 'open'",
    )

    with desk.database.read() as connection:
        desk.source.check_key(connection)
    assert desk.due() == ["1", "2"]


def test_a_key_the_database_enforces_is_not_counted_and_others_are(prepare: Prepare) -> None:
    columns = "a INTEGER NOT NULL, b INTEGER NOT NULL, c INTEGER NOT NULL UNIQUE, d INTEGER UNIQUE, e INTEGER NOT NULL"
    desk = prepare(
        f"CREATE TABLE applicants ({columns}, updated_at TIMESTAMP, PRIMARY KEY (a, b))",
        "CREATE UNIQUE INDEX by_e ON applicants (e) WHERE a > 5",
        key=["b", "a"],
    )

    enforced = {}
    for key in (["b", "a"], ["c"], ["d"], ["e"], ["a"], ["a", "b", "c"]):
        job = desk.workspace.write_job("other", job_text(key=key))
        enforced[tuple(key)] = inspect_source(desk.database, job).key_is_enforced
    assert enforced[("b", "a")]
    assert enforced[("c",)]
    assert not enforced[("d",)]
    assert not enforced[("e",)]
    assert not enforced[("a",)]


def test_a_view_whose_key_doubles_rows_is_reported(prepare: Prepare) -> None:
    desk = prepare(
        APPLICANTS.replace("applicants", "raw_applicants"),
        THREE.replace("applicants", "raw_applicants"),
        "CREATE VIEW applicants AS SELECT a.id, a.updated_at FROM raw_applicants a JOIN raw_applicants b"
        " ON b.id <= a.id",
    )

    with desk.database.read() as connection, pytest.raises(SourceFault, match="2 keys occur in 5 rows"):
        desk.source.check_key(connection)


@pytest.mark.parametrize(
    ("key", "is_enforced"), [(["id", "branch"], True), (["branch", "id"], True), (["branch"], False)]
)
def test_a_key_that_holds_a_unique_one_is_unique(workspace: Workspace, key: list[str], is_enforced: bool) -> None:
    keyed.execute(
        workspace, "CREATE TABLE customers (id INTEGER PRIMARY KEY, branch TEXT NOT NULL, x DOUBLE PRECISION)"
    )

    assert keyed.inspected(workspace, key).key_is_enforced is is_enforced


@pytest.mark.parametrize("is_new", [True, False])
def test_a_duplicate_that_arrives_while_the_run_reads_is_named(workspace: Workspace, is_new: bool) -> None:
    keyed.execute(
        workspace,
        "CREATE TABLE customers (id INTEGER NOT NULL, x DOUBLE PRECISION, updated_at TIMESTAMP)",
        "INSERT INTO customers VALUES (1, 1, '2026-01-01 00:00:00'), (2, 2, '2026-01-01 00:00:00')",
    )
    keyed.inspected(workspace, changed_at="updated_at")
    keyed.with_a_model(workspace)
    if not is_new:
        workspace.run("j")
        keyed.execute(workspace, "UPDATE customers SET updated_at = '2026-01-02 00:00:00'")

    def duplicate(event: Event) -> None:
        if isinstance(event, RunPlanned):
            keyed.execute(workspace, "INSERT INTO customers VALUES (2, 3, '2026-01-03 00:00:00')")

    with pytest.raises(SourceFault, match=r"1 key occurs in 2 rows .*were inserted while the run was active"):
        workspace.run("j", observers=[duplicate])

    status, error = workspace.query("SELECT status, error_type FROM scoring_runs ORDER BY run_id DESC")[0]
    assert (status, error) == ("failed", "SourceFault")
    assert workspace.scalar("SELECT count(*) FROM predictions") == (0 if is_new else 2)
