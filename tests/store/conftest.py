"""Fixtures of the tests that speak SQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from batch_scoring.store.engine.database import Database


@pytest.fixture
def disposing() -> Iterator[list[Database]]:
    """Databases to be disposed of at the end."""
    databases: list[Database] = []
    yield databases
    for database in databases:
        database.dispose()
