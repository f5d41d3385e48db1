"""Errors of the driver come as ours, and repeat no value."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sessions import IMPATIENT, SECRET, another, execute, fault_of, with_a_table

from batch_scoring.errors import (
    ConstraintViolated,
    DatabaseFault,
    DatabaseReadOnly,
    DatabaseUnreachable,
    TransientError,
)
from batch_scoring.store.engine.database import Database


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A table of two rows on each database."""
    yield from with_a_table(database_url)


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("INSERT INTO applicants VALUES (3, 'grace')", "name"),
        ("INSERT INTO applicants VALUES (3, NULL)", "name"),
        ("INSERT INTO applicants VALUES (3, 's3')", "ck_long"),
        ("UPDATE applicants SET name = 's3cr3t'", "name"),
    ],
)
def test_a_constraint_that_refuses_a_write_is_named_and_the_value_is_not(
    database: Database, statement: str, named: str
) -> None:
    fault = fault_of(database, statement)

    assert isinstance(fault, ConstraintViolated)
    assert not isinstance(fault, TransientError)
    assert named in str(fault)
    for value in ("grace", "s3"):
        assert value not in str(fault).replace(str(database.file), "")


@pytest.mark.parametrize("statement", ["SELECT nothing FROM applicants", "SELECT * FROM nowhere", "SELEC 1"])
def test_a_statement_that_is_wrong_is_a_fault_that_does_not_pass(database: Database, statement: str) -> None:
    fault = fault_of(database, statement)

    assert type(fault) is DatabaseFault
    assert fault.__cause__ is not None


def test_a_value_the_driver_cannot_bind_is_a_fault_of_ours_and_not_repeated(database: Database) -> None:
    def bind() -> None:
        with database.write() as connection:
            connection.execute(
                sa.text("INSERT INTO applicants VALUES (:id, :name)"), {"id": 3, "name": {"s3cr3t": object()}}
            )

    with pytest.raises(DatabaseFault) as raised:
        bind()

    assert "s3cr3t" not in str(raised.value)


def test_a_lock_that_another_session_holds_too_long_is_a_transient_error(
    database: Database, disposing: list[Database]
) -> None:
    statement = "UPDATE applicants SET name = 'joan' WHERE id = 1"
    impatient = another(database, disposing, IMPATIENT)
    with database.write() as holding:
        holding.exec_driver_sql(statement)

        assert isinstance(fault_of(impatient, statement), TransientError)

    execute(impatient, statement)


def test_a_write_in_a_reading_transaction_is_a_read_only_error(database: Database) -> None:
    for statement in ("DELETE FROM applicants", "CREATE TABLE t (id INTEGER)"):
        assert isinstance(fault_of(database, statement, writes=False), DatabaseReadOnly)

    execute(database, "DELETE FROM applicants")


def test_a_database_that_is_not_there_is_unreachable_and_its_password_is_not_shown(
    database: Database, disposing: list[Database]
) -> None:
    url = database.url.set(database="/nowhere/at/all.db") if database.dialect.is_file else _of_nobody(database.url)
    missing = Database(url.render_as_string(hide_password=False))
    disposing.append(missing)

    fault = fault_of(missing, "SELECT 1")

    assert isinstance(fault, DatabaseUnreachable)
    assert SECRET not in str(fault)


def _of_nobody(url: sa.URL) -> sa.URL:
    """The address of a server that does not run."""
    return sa.URL.create(url.drivername, "user", SECRET, "127.0.0.1", 1, url.database)
