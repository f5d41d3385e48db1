"""``[source] where`` is one condition, names fit into PostgreSQL, and other databases are refused."""

from __future__ import annotations

import pytest
from customers import JOB, ready_to_register, register_model
from facts import command
from hypothesis import given
from hypothesis import strategies as st
from support import Workspace

from batch_scoring.errors import ConfigurationError
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.dialects.registered import dialect_named, dialects
from batch_scoring.store.source.where_clause import broken_structure


@given(st.text("ab()';\"-/*$[]`\\ E", max_size=20))
@pytest.mark.parametrize("name", [dialect.name for dialect in dialects()])
def test_a_condition_that_is_accepted_closes_what_it_opens(name: str, text: str) -> None:
    syntax = dialect_named(name).conditions
    if broken_structure(text, syntax) is None:
        assert broken_structure(f"({text}\n)", syntax) is None
        assert broken_structure(f"({text}\n);", syntax) is not None
        assert broken_structure(f"({text}\n))", syntax) is not None


def test_a_job_is_named_once_in_each_line(workspace: Workspace) -> None:
    found = register_model(ready_to_register(workspace))
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


def test_a_long_predictions_table_is_written_to_on_sqlite(sqlite_workspace: Workspace) -> None:
    found = register_model(ready_to_register(sqlite_workspace, table="p" * 80))

    assert found.run("j").scored_count == 3


def test_a_source_whose_name_postgresql_has_cut_is_named_as_it_is_there(postgresql_workspace: Workspace) -> None:
    found = ready_to_register(postgresql_workspace)
    name = "s" * 70
    found.sql(f'ALTER TABLE customers RENAME TO "{name}"')
    found.write_job("j", JOB.replace("customers", name).format(where="x > 0", table="predictions", bulk=""))

    done = command(found, "db", "upgrade")

    assert "PostgreSQL truncates a name after 63 bytes" in done.stderr
