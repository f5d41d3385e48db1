"""Dialects that the suite runs on, and one that is not this package's own."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from databases import DATABASES, SqliteFiles
from toy_dialect import Toy

from batch_scoring.errors import ConfigurationError
from batch_scoring.store.bulk.choice import bulk_for
from batch_scoring.store.bulk.portable import PortableBulk
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.dialects.registered import dialect_of, dialects


def test_every_registered_dialect_runs_the_suite() -> None:
    assert {dialect.name for dialect in dialects()} == set(DATABASES)


def test_the_scheme_of_a_url_names_the_dialect_and_the_dialect_its_driver(database: Database) -> None:
    with database.write(create=True) as connection:
        dialect = dialect_of(connection)

    assert dialect is database.dialect
    assert database.url.drivername == dialect.driver


def test_a_dialect_survives_being_sent_to_another_process(database: Database) -> None:
    assert type(pickle.loads(pickle.dumps(database.dialect))) is type(database.dialect)


def test_a_dialect_that_is_registered_by_others_is_used_by_its_name(toy_url: str) -> None:
    database = Database(toy_url)

    assert isinstance(database.dialect, Toy)
    assert isinstance(bulk_for(database), PortableBulk), "it has no strategy of its own, and the driver does not decide"
    assert database.file is not None
    assert database.url.drivername == "sqlite"
    assert Database(toy_url.replace("toy:", "toy+pysqlite:")).url.drivername == "sqlite+pysqlite"


def test_a_dialect_that_is_not_registered_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="toy is not supported"):
        _ = Database("toy:///toy.db").dialect


def test_a_file_of_any_dialect_may_have_any_name(tmp_path: Path, toy: SqliteFiles) -> None:
    database = Database(f"toy:///{tmp_path / 'a@b 100%.db'}")
    with database.write(create=True) as connection:
        connection.exec_driver_sql("CREATE TABLE t (id INTEGER)")
    database.dispose()

    assert (tmp_path / "a@b 100%.db").is_file()
