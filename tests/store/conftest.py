"""Fixtures of the tests that speak SQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support import PostgresServer

from batch_scoring.store.engine.database import Database


@pytest.fixture(scope="package")
def one_postgresql_url(postgres: PostgresServer) -> str:
    return postgres.create_database()


@pytest.fixture
def postgresql_url(one_postgresql_url: str) -> str:
    """One database for all tests of this folder, emptied before each: to create one takes longer than most of them."""
    database = Database(one_postgresql_url)
    with database.read() as connection:
        schemas = connection.exec_driver_sql(
            "SELECT quote_ident(nspname) FROM pg_namespace"
            " WHERE nspname NOT LIKE 'pg\\_%%' AND nspname <> 'information_schema'"
        ).scalars()
        dropped = "".join(f"DROP SCHEMA {schema} CASCADE; " for schema in schemas)
    with database.write() as connection:
        connection.exec_driver_sql(f"{dropped}CREATE SCHEMA public".replace("%", "%%"))
    database.dispose()
    return one_postgresql_url


@pytest.fixture
def disposing() -> Iterator[list[Database]]:
    """Databases to be disposed of at the end."""
    databases: list[Database] = []
    yield databases
    for database in databases:
        database.dispose()
