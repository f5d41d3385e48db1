"""``[source] where`` is one condition, names fit into PostgreSQL, and other databases are refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from facts import command, refused
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression
from support import Workspace

from batch_scoring.errors import ConfigurationError
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.dialects.registered import dialect_named, dialects
from batch_scoring.store.source.where_clause import broken_structure

JOB = """
[source]
table = "customers"
key = ["id"]
where = '''{where}'''
[model]
name = "m"
[predictions]
table = "{table}"
kind = "regression"
{bulk}
"""


def _ready(workspace: Workspace, *, where: str = "x > 0", table: str = "predictions", bulk: str = "auto") -> Workspace:
    workspace.write_job("j", JOB.format(where=where, table=table, bulk=f'[run]\nbulk = "{bulk}"'))
    workspace.sql("CREATE TABLE customers (id INTEGER PRIMARY KEY, x DOUBLE PRECISION NOT NULL, note TEXT)")
    rows = [{"id": 1, "x": 1.0, "note": "10%:a"}, {"id": 2, "x": 2.0, "note": "b)"}, {"id": 3, "x": 3.0, "note": "c;"}]
    workspace.sql("INSERT INTO customers VALUES (:id, :x, :note)", rows)
    return workspace


def _register(workspace: Workspace) -> Workspace:
    sample = pd.DataFrame({"x": np.linspace(0, 6, 20)})
    workspace.upgrade()
    workspace.register(LinearRegression().fit(sample, sample.x * 2), sample, name="m")
    return workspace


SOUND = {
    "x < 2 -- those of today": [1],
    "-- first\nx < 2": [1],
    "x < 2 /* the ) others; */": [1],
    "note LIKE '%)'": [2],
    "note = 'c;' -- ;)": [3],
    "note LIKE '10%:a'": [1],
    "(x < 2) OR (x > 2)": [1, 3],
    "x < 2 OR x > 2": [1, 3],
    "id IN (SELECT id FROM customers WHERE x = 2)": [2],
    "note = 'c' || ';'": [3],
    "mod(id, 2) = 0 -- %": [2],
    "\"note\" = 'b)'": [2],
}


@pytest.mark.parametrize("bulk", ["auto", "portable"])
@pytest.mark.parametrize("where", SOUND)
def test_the_rows_of_where_are_scored_whatever_it_holds(workspace: Workspace, where: str, bulk: str) -> None:
    if not workspace.is_postgresql:
        where = where.replace("mod(id, 2)", "id % 2")
    found = _register(_ready(workspace, where=where, bulk=bulk))

    found.run("j")

    expected = SOUND.get(where, [2])
    assert [key for (key,) in found.query("SELECT id FROM predictions ORDER BY id")] == expected


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("x > 1) OR (x < 5", "it closes a parenthesis that it did not open"),
        ("(x > 1", "it opens a parenthesis that it does not close"),
        ("x > 1;", "it holds a semicolon"),
        ("true); DELETE FROM customers; --", "it closes a parenthesis that it did not open"),
        ("note = 'it", "it opens a quote with ' that nothing closes"),
        ('"x > 1', 'it opens a quote with " that nothing closes'),
        ("x > 1 /* but", "it opens a comment with /* that nothing closes"),
        ("-- nothing", "syntax error"),
    ],
)
def test_a_where_that_is_not_one_condition_is_refused_in_one_sentence(
    workspace: Workspace, where: str, reason: str
) -> None:
    found = _register(_ready(workspace))
    found.write_job("j", JOB.format(where=where, table="predictions", bulk=""))

    for arguments in (["run", "j"], ["check"]):
        done = command(found, *arguments)
        assert done.returncode == 2
        assert "[source] where is not a condition on the rows of customers: " in done.stdout + done.stderr
        assert reason in done.stdout + done.stderr
    assert found.scalar("SELECT count(*) FROM customers") == 3


@given(st.text("ab()';\"-/*$[]`\\ E", max_size=20))
@pytest.mark.parametrize("name", [dialect.name for dialect in dialects()])
def test_a_condition_that_is_accepted_closes_what_it_opens(name: str, text: str) -> None:
    syntax = dialect_named(name).conditions
    if broken_structure(text, syntax) is None:
        assert broken_structure(f"({text}\n)", syntax) is None
        assert broken_structure(f"({text}\n);", syntax) is not None
        assert broken_structure(f"({text}\n))", syntax) is not None


LONGEST = "p" * 50


@pytest.mark.parametrize("table", [LONGEST, "ä" * 25])
def test_a_predictions_table_whose_names_all_fit_is_written_to(postgresql_workspace: Workspace, table: str) -> None:
    found = _register(_ready(postgresql_workspace, table=table))

    assert found.run("j").scored_count == 3
    assert found.scalar(f'SELECT count(*) FROM "{table}_current"') == 3
    assert found.scalar(f'SELECT count(*) FROM "{table}_distribution"') > 0
    done = command(found, "check")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("table", [LONGEST + "p", "p" * 63, "p" * 64, "ä" * 26, "数" * 17])
def test_a_predictions_table_whose_names_would_be_cut_is_refused_before_anything_is_created(
    postgresql_workspace: Workspace, table: str
) -> None:
    found = _ready(postgresql_workspace, table=table)

    refused(command(found, "db", "upgrade"), 2, "job j: predictions.table: ", "expected at most 50", "shorten it")
    assert found.query("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'") == [
        ("customers",)
    ]


def test_a_long_predictions_table_is_written_to_on_sqlite(sqlite_workspace: Workspace) -> None:
    found = _register(_ready(sqlite_workspace, table="p" * 80))

    assert found.run("j").scored_count == 3


@pytest.mark.parametrize("name", ["s" * 63, "s" * 56, "ü" * 31])
def test_a_source_with_the_longest_name_is_read(workspace: Workspace, name: str) -> None:
    found = _ready(workspace)
    found.sql(f'ALTER TABLE customers RENAME TO "{name}"')
    found.write_job("j", JOB.replace("customers", name).format(where="x > 0", table="predictions", bulk=""))

    assert _register(found).run("j").scored_count == 3


def test_a_source_whose_name_postgresql_has_cut_is_named_as_it_is_there(postgresql_workspace: Workspace) -> None:
    found = _ready(postgresql_workspace)
    name = "s" * 70
    found.sql(f'ALTER TABLE customers RENAME TO "{name}"')
    found.write_job("j", JOB.replace("customers", name).format(where="x > 0", table="predictions", bulk=""))

    done = command(found, "db", "upgrade")

    assert "PostgreSQL truncates a name after 63 bytes" in done.stderr


def test_a_job_is_named_once_in_each_line(workspace: Workspace) -> None:
    found = _register(_ready(workspace))
    found.sql("DROP TABLE customers")

    for arguments in (["db", "upgrade"], ["check"], ["run", "j"], ["db", "sql"]):
        done = command(found, *arguments)
        assert "there is no table or view customers" in done.stdout + done.stderr
        for line in (done.stdout + done.stderr).splitlines():
            assert line.count("job j:") < 2


@pytest.mark.parametrize(
    "url",
    [
        "mysql+pymysql://user:s3cr3t@host/loans",
        "mariadb+mariadbconnector://host/loans",
        "oracle+oracledb://user:s3cr3t@host/loans",
        "mssql+pyodbc://user:s3cr3t@host/loans",
        "duckdb:///loans.duckdb",
        "snowflake://user:s3cr3t@account/loans",
        "postgresql+asyncpg://user:s3cr3t@host/loans",
        "sqlite+aiosqlite:///loans.db",
    ],
)
def test_a_database_that_is_not_supported_is_refused_with_those_that_are(sqlite_workspace: Workspace, url: str) -> None:
    sqlite_workspace.database_url = url

    for arguments in (["db", "upgrade"], ["check"], ["runs", "list"]):
        done = command(sqlite_workspace, *arguments)
        assert done.returncode == 2
        assert (
            f"{url.partition(':')[0]} is not supported; batch-scoring works with PostgreSQL"
            in done.stdout + done.stderr
        )
        assert "s3cr3t" not in done.stdout + done.stderr
    with pytest.raises(ConfigurationError, match="is not supported"):
        _ = Database(url).engine


def test_a_broken_where_keeps_every_command_from_the_source(workspace: Workspace) -> None:
    found = _register(_ready(workspace))
    found.write_job("j", JOB.format(where="x > 1) OR (x < 5", table="predictions", bulk=""))

    for arguments in (["why", "j", "1"], ["rescore", "j", "--all", "--yes"]):
        assert "[source] where is not a condition" in command(found, *arguments).stderr
