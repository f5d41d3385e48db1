"""PostgreSQL, through psycopg2 or another driver of SQLAlchemy's."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from batch_scoring.domain.names import TableName
from batch_scoring.errors import DatabaseFault
from batch_scoring.store.engine import addresses
from batch_scoring.store.engine.catalog import Structure
from batch_scoring.store.engine.columns import SourceColumn
from batch_scoring.store.engine.dialects.dialect import ConditionSyntax, Dialect
from batch_scoring.store.engine.dialects.postgresql import casts, catalog, errors
from batch_scoring.store.engine.names import Schemas, literal, schemas_of
from batch_scoring.store.engine.timeouts import Timeouts

if TYPE_CHECKING:
    from batch_scoring.store.engine.expressions import ExpressionSyntax

_SCHEMA_LOCK = 7_164_224_001
"""Key of the advisory lock that lets one upgrade run at a time."""

_NAME_LOCKS = 716_422
"""First key of the advisory locks on names."""

_WORK_MEM = "64MB"
"""Of each session that scores inside the database, unless the server allows more."""

_PSYCOPG2 = "postgresql+psycopg2"


class PostgreSQL(Dialect):
    """PostgreSQL: a server."""

    name = "postgresql"
    product = "PostgreSQL"
    driver = _PSYCOPG2
    templates = "postgresql"
    temporary_schema = "pg_temp"
    longest_name = 63
    has_functions = True
    row_place = "ctid"
    can_end_sessions = True
    inserts_many_values = False  # a trigger may suppress some of the rows, which the count would not show
    bulk = {_PSYCOPG2: "copy"}  # noqa: RUF012 - a ClassVar of the base
    casts = (casts.BY_BASE, casts.BY_FAMILY)
    conditions = ConditionSyntax(
        skipped=re.compile(
            r"""(?<![A-Za-z0-9_$])[Ee]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*"
              | (?<![A-Za-z0-9_$])\$(?P<tag>[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_\x80-\U0010ffff]*|)\$.*?\$(?P=tag)\$
              | --[^\n\r]*""",
            re.VERBOSE | re.DOTALL,
        )
    )

    @property
    def expressions(self) -> ExpressionSyntax:
        """Loaded when a model is computed."""
        from batch_scoring.store.engine.dialects.postgresql.expressions import PostgreSQLExpressions

        return PostgreSQLExpressions()

    def connect_arguments(self, url: sa.URL, timeouts: Timeouts) -> dict[str, Any]:
        """A connection time-out, and UTF-8 whatever the encoding of the database is."""
        if url.drivername != _PSYCOPG2:
            return {}
        return {"connect_timeout": max(1, int(timeouts.connect.total_seconds())), "client_encoding": "utf8"}

    def on_connect(self, dbapi_connection: Any, url: sa.URL) -> None:
        """Return timestamps and times that Python cannot represent ("infinity", years before 1, 24:00) as text."""
        if url.drivername != _PSYCOPG2:
            return
        from psycopg2 import extensions

        for read in (extensions.PYDATE, extensions.PYDATETIME, extensions.PYDATETIMETZ, extensions.PYTIME):
            reader = extensions.new_type(read.values, f"{read.name} or text", _value_or_text(read))
            extensions.register_type(reader, dbapi_connection)

    def schemas(self, dbapi_connection: Any) -> Schemas:
        """Asked with functions and operators of the system only, whatever the search path of the role is."""
        cursor = dbapi_connection.cursor()
        try:
            cursor.execute(catalog.SCHEMAS)
            own, path, trusted = cursor.fetchone()
        finally:
            cursor.close()
            dbapi_connection.rollback()
        return Schemas(own=own or "public", path=tuple(path), trusted=tuple(trusted))

    def begin(self, connection: sa.Connection, *, writes: bool, label: str, timeouts: Timeouts) -> None:
        """Set the time-outs of the transaction and the text format of values."""
        limits = {
            "lock_timeout": timeouts.lock,
            "statement_timeout": timeouts.statement,
            "idle_in_transaction_session_timeout": timeouts.idle_in_transaction,
        }
        settings = [
            f"SET LOCAL {name} = {max(1, int(limit / timedelta(milliseconds=1)))}" for name, limit in limits.items()
        ]
        settings.append("SET LOCAL TimeZone = 'UTC'")
        settings.append("SET LOCAL DateStyle = 'ISO'")
        settings.append("SET LOCAL standard_conforming_strings = on")  # as broken_structure reads conditions
        settings.append("SET LOCAL bytea_output = 'hex'")
        schemas = schemas_of(connection)
        assert schemas is not None
        path = [*(self.quoted(name) for name in schemas.trusted), "pg_temp"]
        settings.append(f"SET LOCAL search_path = {', '.join(path)}")
        settings.append(f"SET LOCAL application_name = {literal(label)}")
        # whatever the default of the role is: a statement that follows a lock must see what was committed before it
        mode = "READ COMMITTED" if writes else "REPEATABLE READ, READ ONLY"
        settings.insert(0, f"SET TRANSACTION ISOLATION LEVEL {mode}")
        connection.exec_driver_sql("; ".join(settings).replace("%", "%%"))

    def fault(self, exc: BaseException | None, url: sa.URL, *, lost: bool) -> DatabaseFault:
        """By SQLSTATE."""
        return errors.fault(
            exc, addresses.shown(url), lost=lost, without_secrets=lambda text: addresses.without_secrets(text, url)
        )

    def refusal(self, driver_error: Any, columns: Collection[str]) -> tuple[str | None, str] | None:
        """By SQLSTATE, and by the context that the server reports."""
        return errors.refusal(driver_error, columns)

    def end_sessions(self, connection: sa.Connection, label: str) -> None:
        """By application name; needs the privilege to signal backends."""
        connection.execute(
            sa.text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = :label"),
            {"label": label},
        )

    def lock_schema(self, connection: sa.Connection) -> None:
        """An advisory lock, released with the transaction."""
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_SCHEMA_LOCK)))

    def may_insert(self, connection: sa.Connection, table: str) -> bool:
        """Of the table, not of its columns."""
        schemas = schemas_of(connection)
        assert schemas is not None
        named = sa.literal(self.quoted(schemas.own, table), sa.Text)
        return bool(connection.execute(sa.select(sa.func.has_table_privilege(named, "INSERT"))).scalar_one())

    def login(self, connection: sa.Connection) -> str | None:
        """The user that has authenticated, whatever role is set."""
        return str(connection.exec_driver_sql("SELECT session_user").scalar_one())

    def lock_name(self, connection: sa.Connection, name: str) -> None:
        """An advisory lock, released with the transaction."""
        key = sa.func.hashtext(sa.literal(name, sa.Text))
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_NAME_LOCKS, key)))

    def prepare_for_expressions(self, connection: sa.Connection, *, reads_ranges: bool) -> None:
        """Do not compile expressions, which takes longer than computing those of a chunk; join ranges by hashes.

        The scored rows of a chunk are kept in memory until they are written and counted.
        """
        settings = "SET LOCAL jit = off"
        if reads_ranges:  # estimates are too low where a table has grown since it was analyzed
            settings += "; SET LOCAL enable_nestloop = off"
        is_less = f"pg_size_bytes(current_setting('work_mem')) < pg_size_bytes('{_WORK_MEM}')"
        settings += f"; SELECT set_config('work_mem', '{_WORK_MEM}', true) WHERE {is_less}"
        connection.exec_driver_sql(settings)

    def check_deferred(self, connection: sa.Connection) -> None:
        """Every deferrable constraint."""
        connection.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")

    def located(self, connection: sa.Connection, table: TableName) -> TableName:
        """The first of the session's search path that has it, or that of this package's tables if none has."""
        if table.schema is not None:
            return table
        schemas = schemas_of(connection)
        assert schemas is not None
        found = connection.execute(catalog.LOCATED, {"path": list(schemas.path), "name": table.name})
        return TableName(found.scalar_one_or_none() or schemas.own, table.name)

    def columns(self, connection: sa.Connection, table: TableName, reflected: Any) -> dict[str, SourceColumn]:
        """With the base type of every domain."""
        return catalog.columns(connection, table, reflected, self)

    def structure(self, connection: sa.Connection, table: TableName) -> Structure:
        """From ``pg_class``, ``pg_index`` and ``pg_inherits``."""
        return catalog.structure(connection, table)

    def hides_rows(self, connection: sa.Connection, table: TableName) -> bool:
        """Whether a policy applies to this user that is not simply true."""
        return catalog.hides_rows(connection, table)


def _value_or_text(read: Any) -> Callable[[Any, Any], Any]:
    def value_or_text(value: Any, cursor: Any) -> Any:
        if value is None or value.endswith("infinity") or value.startswith("24:"):
            return value
        try:
            return read(value, cursor)
        except (ValueError, OverflowError):
            return value

    return value_or_text
