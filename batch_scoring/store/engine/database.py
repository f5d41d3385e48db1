"""The engine, how each dialect is spoken to, and transactions whose errors are ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from batch_scoring import errors
from batch_scoring.errors import ConfigurationError, DatabaseFault, Problem
from batch_scoring.store.engine import addresses
from batch_scoring.store.engine.driver_errors import is_driver_error, postgresql_fault, sqlite_fault

SUPPORTED = ("postgresql", "sqlite")
"""Databases that have tables, views and transactions of this package; SQLAlchemy connects to others."""

_ASYNCHRONOUS = {"asyncpg", "psycopg_async", "psycopgasync", "aiosqlite"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeouts:
    """How long a session may wait before the database itself ends it."""

    connect: timedelta = timedelta(seconds=10)
    lock: timedelta = timedelta(seconds=15)
    statement: timedelta = timedelta(minutes=15)
    idle_in_transaction: timedelta = timedelta(minutes=1)

    def within(self, stalled_after: timedelta) -> Timeouts:
        """Time-outs for a run that may be taken over after ``stalled_after``: no lock of its outlives that."""
        return Timeouts(
            connect=self.connect,
            lock=self.lock,
            statement=self.statement,
            idle_in_transaction=min(self.idle_in_transaction, stalled_after),
        )


class Database:
    """One database: short reading and writing transactions, whose errors are ours.

    An engine is made at first use and connects only when a transaction begins.
    """

    def __init__(self, url: str, *, label: str = "batch-scoring", timeouts: Timeouts | None = None) -> None:
        self._url = url
        self.label = label
        self.timeouts = timeouts or Timeouts()

    @cached_property
    def url(self) -> sa.URL:
        url = addresses.parse_url(self._url)
        if url.drivername in ("postgres", "postgresql"):
            return url.set(drivername="postgresql+psycopg2")
        if url.get_backend_name() not in SUPPORTED or url.drivername.partition("+")[2] in _ASYNCHRONOUS:
            message = (
                f"{url.drivername} is not supported; batch-scoring works with PostgreSQL"
                " (postgresql://user@host/database) and SQLite (sqlite:///file.db)"
            )
            raise ConfigurationError([Problem(where="BATCH_SCORING_DATABASE_URL", key="", message=message)])
        if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
            message = "an SQLite database in memory is gone with the process; name a file: sqlite:///file.db"
            raise ConfigurationError([Problem(where="BATCH_SCORING_DATABASE_URL", key="", message=message)])
        return url

    @property
    def dialect(self) -> str:
        """The database's kind: ``sqlite``, ``postgresql`` or another name SQLAlchemy gives it."""
        return self.url.get_backend_name()

    @property
    def shown(self) -> str:
        """The address as it may be shown: without its secrets."""
        return addresses.shown(self.url)

    @cached_property
    def sqlite_file(self) -> Path | None:
        if self.dialect != "sqlite":
            return None
        return Path((self.url.database or "").removeprefix("file:").partition("?")[0])

    @cached_property
    def engine(self) -> sa.Engine:
        arguments: dict[str, Any] = {}
        if self.dialect == "sqlite":
            arguments["timeout"] = self.timeouts.lock.total_seconds()
        elif self.url.drivername == "postgresql+psycopg2":
            arguments["connect_timeout"] = max(1, int(self.timeouts.connect.total_seconds()))
            arguments["client_encoding"] = "utf8"  # whatever the database keeps its text in
        try:
            engine = sa.create_engine(
                self.url,
                connect_args=arguments,
                hide_parameters=True,
                pool_pre_ping=self.dialect != "sqlite",
                # one INSERT of many rows would hide how many of them a trigger let through
                use_insertmanyvalues=self.dialect != "postgresql",
            )
        except (NoSuchModuleError, ModuleNotFoundError, ArgumentError) as exc:
            message = f"no driver for {self.url.drivername} is installed; install it or use another URL"
            raise ConfigurationError([Problem(where="BATCH_SCORING_DATABASE_URL", key="", message=message)]) from exc
        if self.dialect == "sqlite":
            event.listen(engine, "connect", _prepare_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
        elif self.dialect == "postgresql":
            event.listen(engine, "begin", self._begin_postgresql)
            if self.url.drivername == "postgresql+psycopg2":
                event.listen(engine, "connect", _prepare_psycopg2)
        return engine

    def _begin_postgresql(self, connection: sa.Connection) -> None:
        limits = {
            "lock_timeout": self.timeouts.lock,
            "statement_timeout": self.timeouts.statement,
            "idle_in_transaction_session_timeout": self.timeouts.idle_in_transaction,
        }
        settings = [
            f"SET LOCAL {name} = {max(1, int(limit / timedelta(milliseconds=1)))}" for name, limit in limits.items()
        ]
        settings.append("SET LOCAL TimeZone = 'UTC'")
        settings.append("SET LOCAL DateStyle = 'ISO'")
        settings.append("SET LOCAL bytea_output = 'hex'")
        settings.append(f"SET LOCAL application_name = '{self.label}'")
        if not connection.get_execution_options().get("writes"):
            settings.insert(0, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        connection.exec_driver_sql("; ".join(settings))

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A short transaction that only reads, one state of the database. Errors come out as DatabaseFault."""
        with self._transaction(writes=False) as connection:
            yield connection

    @contextmanager
    def write(self, *, create: bool = False) -> Iterator[sa.Connection]:
        """A transaction that commits at the end of the block and rolls back on any error.

        On SQLite it takes the write lock at once. ``create`` lets a missing SQLite file come into being.
        """
        with self._transaction(writes=True, create=create) as connection:
            yield connection

    @contextmanager
    def _transaction(self, *, writes: bool, create: bool = False) -> Iterator[sa.Connection]:
        file = self.sqlite_file
        if file is not None and not create and not file.exists():
            raise errors.DatabaseUnreachable(
                f"there is no database file {file}; make it with `batch-scoring db upgrade`"
                " or set BATCH_SCORING_DATABASE_URL"
            )
        with self.faults():
            connection = self._connect()
        try:
            with self.faults(), connection.execution_options(writes=writes).begin():
                yield connection
        finally:
            connection.close()

    def _connect(self) -> sa.Connection:
        """A session of the pool. Where the server lets no more in, one that is idle serves as well: the pool may hand
        out the place of a session that was lost before it.
        """
        pool = self.engine.pool
        for _ in range(pool.checkedin() if isinstance(pool, sa.QueuePool) else 0):
            with suppress(sa.exc.OperationalError):
                return self.engine.connect()
        return self.engine.connect()

    @contextmanager
    def faults(self) -> Iterator[None]:
        """Turn what the driver raises inside the block into a DatabaseFault."""
        try:
            yield
        except DBAPIError as exc:
            raise self._fault(exc.orig, lost=exc.connection_invalidated) from exc
        except SQLAlchemyError as exc:
            raise DatabaseFault(f"the database layer refused a statement ({type(exc).__name__})") from exc
        except Exception as exc:
            if not is_driver_error(exc):
                raise
            raise self._fault(exc, lost=False) from exc

    def _fault(self, exc: BaseException | None, *, lost: bool) -> DatabaseFault:
        if self.dialect == "sqlite":
            return sqlite_fault(exc, self.sqlite_file)
        if self.dialect == "postgresql":
            return postgresql_fault(
                exc, self.shown, lost=lost, without_secrets=lambda text: addresses.without_secrets(text, self.url)
            )
        return (errors.ConnectionLost if lost else DatabaseFault)(
            f"the database at {self.shown} failed ({type(exc).__name__})"
        )

    def dispose(self) -> None:
        """Close every pooled connection."""
        if "engine" in self.__dict__:
            self.engine.dispose()


def _prepare_sqlite(dbapi_connection: Any, _record: ConnectionPoolEntry) -> None:
    dbapi_connection.isolation_level = None  # we begin transactions ourselves, see _begin_sqlite
    cursor = dbapi_connection.cursor()
    try:
        cursor.execute("PRAGMA foreign_keys = ON")
        if cursor.execute("PRAGMA query_only").fetchone() and not _is_wal(cursor):
            cursor.execute("PRAGMA journal_mode = WAL")
    except Exception as exc:  # a file that can only be read keeps the journal mode it has
        if not is_driver_error(exc):
            raise
    finally:
        cursor.close()


def _is_wal(cursor: Any) -> bool:
    mode: str = cursor.execute("PRAGMA journal_mode").fetchone()[0]
    return mode == "wal"


def _begin_sqlite(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _prepare_psycopg2(dbapi_connection: Any, _record: ConnectionPoolEntry) -> None:
    """Let timestamps and times that Python cannot hold ("infinity", years before 1, 24:00) through as text."""
    from psycopg2 import extensions

    def lenient(read: Any) -> Callable[[Any, Any], Any]:
        def value_or_text(value: Any, cursor: Any) -> Any:
            if value is None or value.endswith("infinity") or value.startswith("24:"):
                return value
            try:
                return read(value, cursor)
            except (ValueError, OverflowError):
                return value

        return value_or_text

    for read in (extensions.PYDATE, extensions.PYDATETIME, extensions.PYDATETIMETZ, extensions.PYTIME):
        reader = extensions.new_type(read.values, f"{read.name} or text", lenient(read))
        extensions.register_type(reader, dbapi_connection)
