"""A database: its engine, and transactions that raise the errors of this package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from batch_scoring import errors
from batch_scoring.errors import ConfigurationError, DatabaseFault, Problem
from batch_scoring.store.engine import addresses
from batch_scoring.store.engine.dialects.dialect import Dialect
from batch_scoring.store.engine.dialects.registered import dialect_named, dialects
from batch_scoring.store.engine.driver_errors import is_driver_error
from batch_scoring.store.engine.names import schemas_of
from batch_scoring.store.engine.timeouts import Timeouts

_SCHEMES = {"postgres": "postgresql"}
"""Other names of databases in URLs."""

_ASYNCHRONOUS = {"asyncpg", "psycopg_async", "psycopgasync", "aiosqlite"}


class Database:
    """A database with short reading and writing transactions, which raise the errors of this package.

    An engine is created at first use and connects only when a transaction begins.
    """

    def __init__(self, url: str, *, label: str = "batch-scoring", timeouts: Timeouts | None = None) -> None:
        self._url = url
        self.label = label
        """The application name of its sessions, where the database has one."""
        self.timeouts = timeouts or Timeouts()

    @cached_property
    def dialect(self) -> Dialect:
        """The dialect. Raises ConfigurationError where this package does not support the database."""
        url = self._parsed
        scheme, _, driver = url.drivername.partition("+")
        try:
            if driver in _ASYNCHRONOUS:
                raise KeyError(driver)
            return dialect_named(_SCHEMES.get(scheme, scheme))
        except KeyError:
            message = (
                f"{url.drivername} is not supported; batch-scoring works with PostgreSQL"
                " (postgresql://user@host/database) and SQLite (sqlite:///file.db)"
            )
            raise ConfigurationError([Problem(where=addresses.SETTING, key="", message=message)]) from None

    @cached_property
    def _parsed(self) -> sa.URL:
        return addresses.parse_url(self._url, file_schemes=[one.name for one in dialects() if one.is_file])

    @cached_property
    def url(self) -> sa.URL:
        """The URL with a driver of SQLAlchemy: the one it names, or that of the dialect. Raises ConfigurationError."""
        backend = self.dialect.driver.partition("+")[0]
        named = self._parsed.drivername.partition("+")[2]
        drivername = f"{backend}+{named}" if named else self.dialect.driver
        return self.dialect.checked_url(self._parsed.set(drivername=drivername))

    @property
    def shown(self) -> str:
        """The URL without its secrets, for messages."""
        return addresses.shown(self.url)

    @cached_property
    def file(self) -> Path | None:
        """The file of the database; None for a server."""
        return self.dialect.file_of(self.url)

    @cached_property
    def engine(self) -> sa.Engine:
        dialect, url = self.dialect, self.url
        try:
            engine = sa.create_engine(
                url,
                connect_args=dialect.connect_arguments(url, self.timeouts),
                hide_parameters=True,
                pool_pre_ping=dialect.pings,
                use_insertmanyvalues=dialect.inserts_many_values,
                execution_options={"batch_scoring_dialect": dialect},
            )
        except (NoSuchModuleError, ModuleNotFoundError, ArgumentError) as exc:
            message = f"no driver for {url.drivername} is installed; install it or use another URL"
            raise ConfigurationError([Problem(where=addresses.SETTING, key="", message=message)]) from exc
        event.listen(engine, "connect", self._on_connect)
        event.listen(engine, "begin", self._begin)
        return engine

    def _on_connect(self, driver_connection: Any, record: Any) -> None:
        self.dialect.on_connect(driver_connection, self.url)
        record.info["batch_scoring_schemas"] = self.dialect.schemas(driver_connection)

    def _begin(self, connection: sa.Connection) -> None:
        writes = bool(connection.get_execution_options().get("writes"))
        self.dialect.begin(connection, writes=writes, label=self.label, timeouts=self.timeouts)

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A short read-only transaction on one snapshot of the database. Raises DatabaseFault."""
        with self._transaction(writes=False) as connection:
            yield connection

    @contextmanager
    def write(self, *, create: bool = False) -> Iterator[sa.Connection]:
        """A transaction that commits at the end of the block and rolls back on any error.

        ``create`` allows the file of the database to be created. Raises DatabaseFault.
        """
        with self._transaction(writes=True, create=create) as connection:
            yield connection

    @contextmanager
    def _transaction(self, *, writes: bool, create: bool = False) -> Iterator[sa.Connection]:
        file = self.file
        if file is not None and not create and not file.exists():
            raise errors.DatabaseUnreachable(
                f"there is no database file {file}; create it with `batch-scoring db upgrade`"
                " or set BATCH_SCORING_DATABASE_URL"
            )
        with self.faults():
            connection = self._connect()
        try:
            schemas = schemas_of(connection)
            options = {} if schemas is None else {"schema_translate_map": {None: schemas.own}}
            with self.faults(), connection.execution_options(writes=writes, **options).begin():
                yield connection
        finally:
            connection.close()

    def _connect(self) -> sa.Connection:
        """A session of the pool.

        If the server accepts no more connections, an idle one is used: the pool may return the place of a lost session
        before it.
        """
        pool = self.engine.pool
        for _ in range(pool.checkedin() if isinstance(pool, sa.QueuePool) else 0):
            with suppress(sa.exc.OperationalError):
                return self.engine.connect()
        return self.engine.connect()

    @contextmanager
    def faults(self) -> Iterator[None]:
        """Raise errors of the driver inside the block as DatabaseFault."""
        try:
            yield
        except DBAPIError as exc:
            raise self.dialect.fault(exc.orig, self.url, lost=exc.connection_invalidated) from exc
        except SQLAlchemyError as exc:
            raise DatabaseFault(f"the database layer refused a statement ({type(exc).__name__})") from exc
        except Exception as exc:
            if not is_driver_error(exc):
                raise
            raise self.dialect.fault(exc, self.url, lost=False) from exc

    def with_timeouts(self, timeouts: Timeouts) -> Database:
        """The same database with separate sessions and other time-outs."""
        return Database(self._url, label=self.label, timeouts=timeouts)

    def dispose(self) -> None:
        """Close every pooled connection."""
        if "engine" in self.__dict__:
            self.engine.dispose()
