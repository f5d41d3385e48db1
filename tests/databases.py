"""The databases that the tests run on: for each dialect one fixture that creates them."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa

DATABASES = {"sqlite": "sqlite_files", "postgresql": "postgres"}
"""The fixture that gives ``Databases``, by the name of the dialect. The fixture ``<name>_url`` gives one of them."""


class Databases(Protocol):
    """What creates databases of one kind."""

    def create_database(self) -> str:
        """Create an empty database and return its URL."""

    def copy_database(self, url: str) -> str:
        """Copy a database that has no session and return the URL of the copy."""


class SqliteFiles:
    """Files in a folder. Another dialect that is SQLite underneath has another scheme."""

    def __init__(self, folder: Path, scheme: str = "sqlite") -> None:
        self._folder = folder
        self._scheme = scheme

    def create_database(self) -> str:
        """The URL of a file that is yet to be created."""
        return f"{self._scheme}:///{self._folder / uuid.uuid4().hex}.db"

    def copy_database(self, url: str) -> str:
        """Copy the file."""
        copy = self.create_database()
        source, target = (sa.make_url(one).database for one in (url, copy))
        assert source
        assert target
        shutil.copyfile(source, target)
        return copy
