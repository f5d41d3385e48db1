"""Transactions: a read sees one state and cannot write; a write commits or rolls back as a whole."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sessions import IMPATIENT, another, execute, fault_of, value_of, with_a_table

from batch_scoring.errors import (
    ConnectionLost,
    DatabaseReadOnly,
)
from batch_scoring.store.engine.database import Database


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A table of two rows on each database."""
    yield from with_a_table(database_url)


def test_what_a_block_wrote_is_committed_at_its_end(database: Database) -> None:
    with database.write() as connection:
        connection.exec_driver_sql("INSERT INTO applicants VALUES (3, 'joan')")

    assert value_of(database, "SELECT count(*) FROM applicants") == 3


def test_an_error_of_any_kind_rolls_the_block_back(database: Database) -> None:
    def fail() -> None:
        with database.write() as connection:
            connection.exec_driver_sql("INSERT INTO applicants VALUES (3, 'joan')")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    assert value_of(database, "SELECT count(*) FROM applicants") == 2


def test_an_interruption_rolls_the_block_back(database: Database) -> None:
    def interrupt() -> None:
        with database.write() as connection:
            connection.exec_driver_sql("INSERT INTO applicants VALUES (3, 'joan')")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()

    assert value_of(database, "SELECT count(*) FROM applicants") == 2
    execute(database, "INSERT INTO applicants VALUES (3, 'joan')")


def test_reading_goes_on_while_somebody_writes(database: Database) -> None:
    with database.write() as writing:
        writing.exec_driver_sql("INSERT INTO applicants VALUES (3, 'joan')")

        assert value_of(database, "SELECT count(*) FROM applicants") == 2


def test_a_connection_is_given_back_after_every_fault(database: Database) -> None:
    for _ in range(30):
        fault_of(database, "SELECT nonsense FROM nowhere")

    assert value_of(database, "SELECT count(*) FROM applicants") == 2


def test_a_reading_transaction_cannot_write(database: Database) -> None:
    fault = fault_of(database, "INSERT INTO applicants VALUES (3, 'joan')", writes=False)

    assert isinstance(fault, DatabaseReadOnly)


def test_a_reading_transaction_sees_one_state_of_the_database(database: Database, disposing: list[Database]) -> None:
    other = another(database, disposing)
    with database.read() as reading:
        before = reading.exec_driver_sql("SELECT count(*) FROM applicants").scalar_one()
        execute(other, "INSERT INTO applicants VALUES (3, 'joan')")
        after = reading.exec_driver_sql("SELECT count(*) FROM applicants").scalar_one()

    assert (before, after) == (2, 2)
    assert value_of(database, "SELECT count(*) FROM applicants") == 3


def test_a_session_that_has_only_read_can_write_next(database: Database) -> None:
    for name in ("joan", "mary"):
        assert value_of(database, "SELECT count(*) FROM applicants")
        execute(database, f"INSERT INTO applicants SELECT count(*) + 1, '{name}' FROM applicants")

    assert value_of(database, "SELECT count(*) FROM applicants") == 4


@pytest.mark.requires(locks_rows=True)
def test_sessions_that_write_different_rows_do_not_wait_for_each_other(
    database: Database, disposing: list[Database]
) -> None:
    other = another(database, disposing, IMPATIENT)
    with database.write() as first:
        first.exec_driver_sql("UPDATE applicants SET name = 'Ada' WHERE id = 1")
        execute(other, "UPDATE applicants SET name = 'Grace' WHERE id = 2")

    assert value_of(database, "SELECT min(name) || max(name) FROM applicants") == "AdaGrace"


@pytest.mark.requires(can_end_sessions=True)
def test_the_sessions_of_a_label_are_ended_and_no_others(database: Database, disposing: list[Database]) -> None:
    url = database.url.render_as_string(hide_password=False)
    frozen, bystander = (Database(url, label=label) for label in ("run 1", "run 2"))
    disposing += [frozen, bystander]

    def outlive(other: Database) -> None:
        with frozen.write() as connection, other.write() as untouched:
            with database.write() as ending:
                database.dialect.end_sessions(ending, "run 1")
            assert untouched.exec_driver_sql("SELECT 1").scalar_one() == 1
            connection.exec_driver_sql("SELECT 1")

    with pytest.raises(ConnectionLost):
        outlive(bystander)
    assert value_of(frozen, "SELECT 1") == 1
