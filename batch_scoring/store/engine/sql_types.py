"""Column types and expressions that are compiled differently for each dialect."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles

FOREVER = datetime(9999, 12, 31, tzinfo=UTC)
"""``valid_to`` of a current row."""


_LATEST = datetime.max.replace(microsecond=0, tzinfo=UTC)
"""The time in the place of a later one, which Python cannot represent."""


class UtcTimestamp(sa.types.TypeDecorator[datetime]):
    """An aware datetime in UTC: TIMESTAMP WITH TIME ZONE where it exists, else UTC by convention."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None or dialect.name == "postgresql":
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | str | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        if value is None:
            return None
        if isinstance(value, str):  # infinity, or a year that Python does not have: as far away as it goes
            return datetime.min.replace(tzinfo=UTC) if value.startswith("-") or value.endswith("BC") else _LATEST
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class database_now(sa.sql.functions.FunctionElement[datetime]):  # noqa: N801 - named like SQLAlchemy's functions
    """The database's clock at this instant, in UTC and with the precision its timestamps are stored in."""

    type = UtcTimestamp()
    inherit_cache = True


@compiles(database_now)
def _now_default(_element: Any, _compiler: Any, **_kw: Any) -> str:
    return "CURRENT_TIMESTAMP"


@compiles(database_now, "postgresql")
def _now_postgresql(_element: Any, _compiler: Any, **_kw: Any) -> str:
    return "clock_timestamp()"


@compiles(database_now, "sqlite")
def _now_sqlite(_element: Any, compiler: Any, **_kw: Any) -> str:
    percent = "%%" if compiler.preparer._double_percents else "%"  # noqa: SLF001 - strftime's own percent signs
    return f"strftime('{percent}Y-{percent}m-{percent}d {percent}H:{percent}M:{percent}f000', 'now')"


@compiles(database_now, "mysql", "mariadb")
def _now_mysql(_element: Any, _compiler: Any, **_kw: Any) -> str:
    return "UTC_TIMESTAMP(6)"


RAW = sa.types.NullType()
"""The type of values that are passed to the database unchanged, as they were read or typed."""


class as_timestamp(sa.sql.functions.FunctionElement[Any]):  # noqa: N801 - named like SQLAlchemy's functions
    """A timestamp that can be compared.

    SQLite stores timestamps as text in several forms, which are converted to one with milliseconds. In other databases
    it is the timestamp itself.
    """

    type = RAW
    inherit_cache = True


@compiles(as_timestamp)
def _timestamp_default(element: Any, compiler: Any, **kw: Any) -> str:
    return f"{compiler.process(element.clauses, **kw)}"


@compiles(as_timestamp, "sqlite")
def _timestamp_sqlite(element: Any, compiler: Any, **kw: Any) -> str:
    percent = "%%" if compiler.preparer._double_percents else "%"  # noqa: SLF001 - strftime's own percent signs
    form = f"{percent}Y-{percent}m-{percent}d {percent}H:{percent}M:{percent}f"
    return f"strftime('{form}', {compiler.process(element.clauses, **kw)})"


class RawType(sa.types.UserDefinedType[Any]):
    """A column type by its exact DDL, whose values are not converted."""

    cache_ok = True

    def __init__(self, ddl: str) -> None:
        self.ddl = ddl

    def get_col_spec(self, **_kw: Any) -> str:
        return self.ddl
