"""A key is believed to be unique only where the database enforces it for every row that a run reads."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from facts import command
from keyed import check_key, execute, inspected, with_a_model
from support import Workspace

from batch_scoring.errors import SourceFault
from batch_scoring.store.engine.names import driver_sql
from batch_scoring.store.source import index_advice


def _execute_each(workspace: Workspace, *statements: str) -> list[str]:
    """Run statements outside transactions; returns the errors."""
    url = sa.make_url(workspace.database_url).set(drivername="postgresql+psycopg2")
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool)
    failed = []
    with engine.connect() as connection:
        for statement in statements:
            try:
                connection.exec_driver_sql(driver_sql(connection.dialect, statement))
            except sa.exc.DBAPIError as exc:
                failed.append(str(exc.orig))
    return failed


TABLE = "CREATE TABLE customers (id BIGINT{}, x DOUBLE PRECISION)"

ENFORCED_BY_POSTGRESQL = {
    "primary key": [TABLE.format(" PRIMARY KEY")],
    "unique and not null": [TABLE.format(" NOT NULL UNIQUE")],
    "unique index": [TABLE.format(" NOT NULL"), "CREATE UNIQUE INDEX ON customers (id)"],
    "unique index that includes another column": [
        TABLE.format(" NOT NULL"),
        "CREATE UNIQUE INDEX ON customers (id) INCLUDE (x)",
    ],
    "partitioned": [
        TABLE.format(" PRIMARY KEY") + " PARTITION BY RANGE (id)",
        "CREATE TABLE customers_1 PARTITION OF customers DEFAULT",
    ],
    "child of a parent": [
        "CREATE TABLE parent (id BIGINT PRIMARY KEY, x DOUBLE PRECISION)",
        "CREATE TABLE customers (PRIMARY KEY (id)) INHERITS (parent)",
    ],
}


@pytest.mark.parametrize("name", ENFORCED_BY_POSTGRESQL)
def test_a_key_that_postgresql_enforces_is_not_counted(postgresql_workspace: Workspace, name: str) -> None:
    execute(postgresql_workspace, *ENFORCED_BY_POSTGRESQL[name])

    source = inspected(postgresql_workspace)

    assert source.key_is_enforced
    assert source.guarantee.doubt is None


ADD = "INSERT INTO customers VALUES (1, 1), (1, 2)"

NOT_ENFORCED_BY_POSTGRESQL = {
    "inherited": (
        [
            TABLE.format(" PRIMARY KEY"),
            "CREATE TABLE customers_archive (LIKE customers) INHERITS (customers)",
            "INSERT INTO customers VALUES (1, 1)",
            "INSERT INTO customers_archive VALUES (1, 2)",
        ],
        "the primary key of customers does not cover customers_archive, which inherits from it",
    ),
    "inherited twice": (
        [
            TABLE.format(" NOT NULL UNIQUE"),
            "CREATE TABLE a () INHERITS (customers)",
            "CREATE TABLE b () INHERITS (customers)",
            "INSERT INTO a VALUES (1, 1)",
            "INSERT INTO b VALUES (1, 1)",
        ],
        "unique index customers_id_key of customers does not cover a, b, which inherit from it",
    ),
    "none": ([TABLE.format(" NOT NULL"), ADD], "customers has no primary key or unique index on id"),
    "partial": (
        [TABLE.format(" NOT NULL"), "CREATE UNIQUE INDEX part ON customers (id) WHERE x > 5", ADD],
        "unique index part of customers is partial and does not cover the rows outside its WHERE",
    ),
    "expression": (
        [TABLE.format(" NOT NULL"), "CREATE UNIQUE INDEX part ON customers ((id + x))", ADD],
        "unique index part of customers is on an expression",
    ),
    "deferrable": (
        [TABLE.format(" PRIMARY KEY DEFERRABLE"), "SET LOCAL session_replication_role = replica", ADD],
        "the primary key of customers is deferrable: it is checked by a trigger",
    ),
    "view": (
        [
            "CREATE TABLE under (id BIGINT PRIMARY KEY, x DOUBLE PRECISION)",
            "INSERT INTO under VALUES (1, 1)",
            "CREATE VIEW customers AS SELECT * FROM under UNION ALL SELECT * FROM under",
        ],
        "customers is a view, which has no key of its own",
    ),
    "invalid": (
        [TABLE.format(" NOT NULL"), ADD],
        "unique index broken of customers is invalid: its build did not finish",
    ),
}


@pytest.mark.parametrize("name", NOT_ENFORCED_BY_POSTGRESQL)
def test_a_key_that_postgresql_does_not_enforce_is_counted_and_the_reason_given(
    postgresql_workspace: Workspace, name: str
) -> None:
    statements, doubt = NOT_ENFORCED_BY_POSTGRESQL[name]
    execute(postgresql_workspace, *statements)
    if name == "invalid":
        refused = _execute_each(postgresql_workspace, "CREATE UNIQUE INDEX CONCURRENTLY broken ON customers (id)")
        assert "could not create unique index" in refused[0]
    source = inspected(postgresql_workspace)

    assert not source.key_is_enforced
    assert source.guarantee.doubt is not None
    assert source.guarantee.doubt.startswith(doubt)
    with pytest.raises(SourceFault, match=r"is not unique: 1 key occurs in 2 rows \(") as found:
        check_key(postgresql_workspace, source)
    assert doubt in str(found.value)
    assert "`SELECT id, count(*) FROM customers GROUP BY id HAVING count(*) > 1`" in str(found.value)


NULLABLE_IN_POSTGRESQL = {
    "unique with NULL": ([TABLE.format(" UNIQUE"), "INSERT INTO customers VALUES (NULL, 1)"], "id of customers may be"),
    "nulls not distinct": (
        [TABLE.format(" UNIQUE NULLS NOT DISTINCT"), "INSERT INTO customers VALUES (NULL, 1)"],
        "id of customers may be NULL",
    ),
    "not valid": (
        [
            TABLE.format(" UNIQUE"),
            "INSERT INTO customers VALUES (NULL, 1)",
            "ALTER TABLE customers ADD CONSTRAINT later NOT NULL id NOT VALID",
        ],
        "NOT NULL of id in customers is NOT VALID",
    ),
    "materialized view": (
        [
            "CREATE MATERIALIZED VIEW customers AS SELECT CAST(NULL AS bigint) AS id, 1.0 AS x",
            "CREATE UNIQUE INDEX ON customers (id)",
        ],
        "id of customers may be NULL",
    ),
}


@pytest.mark.parametrize("name", NULLABLE_IN_POSTGRESQL)
def test_a_unique_key_that_may_be_null_is_searched_for_null(postgresql_workspace: Workspace, name: str) -> None:
    statements, doubt = NULLABLE_IN_POSTGRESQL[name]
    execute(postgresql_workspace, *statements)
    source = inspected(postgresql_workspace)

    assert source.guarantee.is_unique
    assert source.guarantee.doubt is not None
    assert source.guarantee.doubt.startswith(doubt)
    with pytest.raises(SourceFault, match=r"\(id\) is NULL in 1 row;"):
        check_key(postgresql_workspace, source)


def test_a_foreign_table_enforces_nothing(postgresql_workspace: Workspace) -> None:
    execute(
        postgresql_workspace,
        "CREATE FOREIGN DATA WRAPPER elsewhere",
        "CREATE SERVER there FOREIGN DATA WRAPPER elsewhere",
        "CREATE FOREIGN TABLE customers (id BIGINT NOT NULL, x DOUBLE PRECISION) SERVER there",
    )
    source = inspected(postgresql_workspace)

    assert source.guarantee.may_be_null == ("id",)
    assert source.guarantee.doubt == "customers is a foreign table, whose constraints are not enforced here"
    job = postgresql_workspace.job("j")
    with postgresql_workspace.database() as database, database.read() as connection:
        (advice,) = index_advice.advice(connection, job, source)
    assert advice == "customers is a foreign table: make sure that the table on its server has indexes on id"


def test_a_temporal_key_is_not_taken_for_a_unique_one(postgresql_workspace: Workspace) -> None:
    execute(
        postgresql_workspace,
        "CREATE TABLE customers (id int4range, during tstzrange, x float8, PRIMARY KEY (id, during WITHOUT OVERLAPS))",
    )

    source = inspected(postgresql_workspace, ["id", "during"])

    assert source.guarantee.doubt == "the primary key of customers is WITHOUT OVERLAPS"


IN_SQLITE = {
    "id INTEGER PRIMARY KEY": (True, None),
    "id integer, PRIMARY KEY (id)": (True, None),
    "id TEXT NOT NULL PRIMARY KEY": (True, None),
    "id TEXT PRIMARY KEY) WITHOUT ROWID --": (True, None),
    "id INT PRIMARY KEY NOT NULL) STRICT --": (True, None),
    "id TEXT COLLATE NOCASE NOT NULL UNIQUE": (True, None),
    "id INT PRIMARY KEY": (False, "id of customers may be NULL"),
    "id INTEGER PRIMARY KEY DESC": (False, "id of customers may be NULL"),
    "id TEXT PRIMARY KEY": (False, "id of customers may be NULL"),
    "id TEXT UNIQUE": (False, "id of customers may be NULL"),
    "id TEXT NOT NULL": (False, "customers has no primary key or unique index on id"),
}


@pytest.mark.parametrize("declared", IN_SQLITE)
def test_what_sqlite_enforces_of_a_key_is_known(sqlite_workspace: Workspace, declared: str) -> None:
    execute(sqlite_workspace, f"CREATE TABLE customers (x REAL, {declared}\n" + (")" if "--" not in declared else ""))

    source = inspected(sqlite_workspace)

    assert (source.key_is_enforced, source.guarantee.doubt) == IN_SQLITE[declared]


@pytest.mark.parametrize(
    ("index", "doubt"),
    [
        ("(id) WHERE x > 5", "unique index part of customers is partial"),
        ("(id || x)", "part of customers is on an expr"),
    ],
)
def test_an_index_of_sqlite_that_does_not_cover_every_row_is_not_believed(
    sqlite_workspace: Workspace, index: str, doubt: str
) -> None:
    execute(
        sqlite_workspace,
        "CREATE TABLE customers (id TEXT NOT NULL, x REAL)",
        f"CREATE UNIQUE INDEX part ON customers {index}",
        "INSERT INTO customers VALUES ('a', 1), ('a', 2)",
    )
    source = inspected(sqlite_workspace)

    assert doubt in (source.guarantee.doubt or "")
    with pytest.raises(SourceFault, match="1 key occurs in 2 rows"):
        check_key(sqlite_workspace, source)


def test_check_proposes_no_index_where_sqlite_s_integer_primary_key_is_one(sqlite_workspace: Workspace) -> None:
    execute(sqlite_workspace, "CREATE TABLE customers (id INTEGER PRIMARY KEY, x REAL)")
    inspected(sqlite_workspace)

    done = command(with_a_model(sqlite_workspace), "check")

    assert done.returncode == 0, done.stdout
    assert "INDEX" not in done.stdout
    assert "counts" not in done.stdout


def test_an_invalid_index_is_proposed_again(postgresql_workspace: Workspace) -> None:
    execute(postgresql_workspace, TABLE.format(" NOT NULL"), ADD)
    _execute_each(postgresql_workspace, "CREATE UNIQUE INDEX CONCURRENTLY broken ON customers (id)")
    source = inspected(postgresql_workspace)

    with postgresql_workspace.database() as database, database.read() as connection:
        (advice,) = index_advice.advice(connection, postgresql_workspace.job("j"), source)

    assert 'CREATE INDEX "ix_customers_id"' in advice


@pytest.mark.slow
def test_a_duplicate_in_a_child_table_ends_each_run_before_it_scores_the_key_again(
    postgresql_workspace: Workspace,
) -> None:
    workspace = postgresql_workspace
    execute(
        workspace,
        "CREATE TABLE customers (id BIGINT PRIMARY KEY, x float8, updated_at TIMESTAMPTZ NOT NULL DEFAULT now())",
        "CREATE TABLE customers_archive (LIKE customers) INHERITS (customers)",
        "INSERT INTO customers SELECT g, g FROM generate_series(1, 9) g",
    )
    inspected(workspace, changed_at="updated_at")
    assert with_a_model(workspace).run("j").scored_count == 9
    checked = command(workspace, "check")
    assert checked.returncode == 0
    assert "does not cover customers_archive, which inherits from it, so every run counts the keys\n" in checked.stdout
    execute(workspace, "INSERT INTO customers_archive SELECT id, x, now() - interval '1 day' FROM customers LIMIT 1")

    for _ in range(2):
        with pytest.raises(SourceFault, match="1 key occurs in 2 rows"):
            workspace.run("j")
    assert workspace.scalar("SELECT count(*) FROM predictions") == 9
    assert command(workspace, "check").returncode == 2
