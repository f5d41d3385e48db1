"""What every database must do for this package: each test here runs on every dialect that has what it asks for.

A new dialect has one entry in ``databases.DATABASES``. Tests are selected by capabilities, never by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from chunk_desk import Desk, prepare_desk
from databases import DATABASES, Databases, SqliteFiles
from source_desk import Prepare, prepared_desk
from support import Workspace
from toy_dialect import Toy

from batch_scoring.store.bulk.choice import bulk_for
from batch_scoring.store.bulk.contract import Bulk
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.dialects import registered
from batch_scoring.store.engine.dialects.dialect import Dialect
from batch_scoring.store.engine.dialects.registered import dialect_named, register_dialect
from batch_scoring.store.schema import upgrade

_DATABASES = {**DATABASES, Toy.name: "toy"}
_DIALECTS: dict[str, Dialect] = {**{name: dialect_named(name) for name in DATABASES}, Toy.name: Toy()}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what a dialect does not have: a capability that a test asks for, or a fast strategy of moving rows."""
    deselected = [item for item in items if not _applies(item)]
    if deselected:
        items[:] = [item for item in items if item not in deselected]
        config.hook.pytest_deselected(items=deselected)


def _applies(item: pytest.Item) -> bool:
    required: dict[str, Any] = {}
    for marker in item.iter_markers("requires"):
        required |= marker.kwargs
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    dialect = _DIALECTS.get(parameters.get("database_url", ""))
    if dialect is None:
        assert not required, f"{item.nodeid} asks for a capability and runs on no database of the suite"
        return True
    if parameters.get("strategy") == "portable" and not dialect.bulk:
        return False
    return all(bool(getattr(dialect, name)) is value for name, value in required.items())


@pytest.fixture(params=_DATABASES)
def database_url(request: pytest.FixtureRequest) -> str:
    """An empty database of each dialect."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def toy(tmp_path: Path) -> Iterator[SqliteFiles]:
    """A dialect that is registered while the test runs."""
    register_dialect(Toy())
    yield SqliteFiles(tmp_path, Toy.name)
    del registered._registered[Toy.name]


@pytest.fixture
def toy_url(toy: SqliteFiles) -> str:
    return toy.create_database()


@pytest.fixture
def second_url(workspace: Workspace, request: pytest.FixtureRequest) -> str:
    """Another empty database of the same kind."""
    databases: Databases = request.getfixturevalue(_DATABASES[workspace.dialect.name])
    return databases.create_database()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """An empty database of each dialect, open."""
    database = Database(database_url)
    yield database
    database.dispose()


@pytest.fixture(params=["auto", "portable"])
def strategy(request: pytest.FixtureRequest) -> str:
    """The strategy of moving rows that a job asks for: the fastest of the dialect, or the portable one."""
    chosen: str = request.param
    return chosen


@pytest.fixture
def bulk(database: Database, strategy: str) -> Bulk:
    """Each strategy that the database has."""
    return bulk_for(database, strategy)


@pytest.fixture
def ready(workspace: Workspace) -> Workspace:
    """A database with our schema and no job."""
    with workspace.database() as database:
        upgrade.upgrade(database, [])
    return workspace


@pytest.fixture
def desk(workspace: Workspace, database: Database, bulk: Bulk) -> Desk:
    """Five applicants, an open run, and each strategy of writing."""
    return prepare_desk(workspace, bulk, database)


@pytest.fixture
def prepare(workspace: Workspace) -> Iterator[Prepare]:
    """Creates the source with the statements given and the job's tables, and opens a run."""
    with ExitStack() as stack:
        yield lambda *statements, **job: prepared_desk(stack, workspace, statements, job)
