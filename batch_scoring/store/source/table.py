"""The table or view that a job reads, as the database declares it, and its rows as a query."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.exc import NoSuchTableError

from batch_scoring.counting import counted
from batch_scoring.domain.column_types import Family
from batch_scoring.domain.job import Job
from batch_scoring.domain.names import TableName
from batch_scoring.errors import AccessDenied, DatabaseFault, SourceFault, TransientError
from batch_scoring.store.engine.columns import SourceColumn
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.dialects.dialect import Dialect
from batch_scoring.store.engine.names import NamedTable, exactly
from batch_scoring.store.engine.reflection import located, source_columns
from batch_scoring.store.engine.sql_types import RAW, RawType
from batch_scoring.store.source.uniqueness import Guarantee, duplicates, duplicates_query, guarantee
from batch_scoring.store.source.where_clause import broken_structure

SCORED_ONCE = (
    "[source] names no changed_at, so each row is scored once and a change of it is not detected; name the column that"
    " holds when a row last changed, set refresh, or use `batch-scoring rescore`"
)
"""A warning for jobs without a version of their rows."""


Conditions: TypeAlias = Callable[[sa.TableClause], Sequence[sa.ColumnElement[bool]]]
"""Further conditions on the rows of a source, given its table."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceTable:
    """The table or view a job reads, as the database declares it. Picklable."""

    table: TableName
    key: tuple[str, ...]
    changed_at: str | None
    where: str | None
    columns: dict[str, SourceColumn]
    guarantee: Guarantee
    """What the database enforces for the key."""
    dialect: Dialect
    schema: str | None = None
    """The schema in which the table was found, where its name has none."""

    @property
    def place(self) -> TableName:
        """The table with its schema."""
        return TableName(self.schema or self.table.schema, self.table.name)

    @classmethod
    def inspect(cls, database: Database, connection: sa.Connection, job: Job) -> SourceTable:
        """Look up the source. Raises SourceFault naming the missing table or columns, and DatabaseFault."""
        table = job.source.table_name
        if job.source.where is not None and (
            problem := broken_structure(job.source.where, database.dialect.conditions)
        ):
            raise SourceFault(f"[source] where is not a condition on the rows of {table}: it {problem}")
        with database.faults():
            try:
                columns = source_columns(connection, table)
            except NoSuchTableError:
                raise SourceFault(f"job {job.name}: {_no_table(database, table)}") from None
            place = located(connection, table)
            found = database.dialect.structure(connection, place)
        wanted = [*job.source.key, *([job.source.changed_at] if job.source.changed_at else [])]
        if missing := [name for name in wanted if name not in columns]:
            raise SourceFault(
                f"job {job.name}: {table} has no column {_listed(missing)} (it has {_listed(columns)});"
                " fix [source] key and changed_at"
            )
        if job.source.lookback is not None:
            _check_lookback(job, columns)
        key = tuple(job.source.key)
        return cls(
            table=table,
            schema=place.schema,
            key=key,
            changed_at=job.source.changed_at,
            where=job.source.where,
            columns=columns,
            guarantee=guarantee(table, key, found),
            dialect=database.dialect,
        )

    @property
    def key_is_enforced(self) -> bool:
        """Whether the database enforces that the key is unique and not NULL."""
        return self.guarantee.holds

    def changed_columns(self, now: SourceTable) -> list[str]:
        """Columns whose type has changed, each with the old and the new type."""
        return [
            f"{name} was {column.ddl} and is {now.columns[name].ddl}"
            for name, column in self.columns.items()
            if name in now.columns and now.columns[name].ddl != column.ddl
        ]

    def rows(self, columns: Iterable[str] = (), conditions: Conditions = lambda _table: ()) -> sa.Subquery:
        """The rows of the job: key, ``changed_at`` and further columns.

        A subquery, so that ``where`` can refer to the source's columns only.
        """
        names = dict.fromkeys([*self.key, *([self.changed_at] if self.changed_at else []), *columns])
        table = NamedTable(exactly(self.table.name), *map(self._column, names), schema=exactly(self.place.schema))
        query = sa.select(*table.c)
        if self.where:
            query = query.where(sa.literal_column(f"({self.where}\n)"))  # it may end in a comment
        return query.where(*conditions(table)).subquery("source")

    def keys_of(self, rows: sa.FromClause) -> list[sa.ColumnElement[Any]]:
        """The key columns in the collation for comparing and ordering keys, whatever the source's collation is."""
        return [self.key_of(rows, name) for name in self.key]

    def key_of(self, rows: sa.FromClause, name: str) -> sa.ColumnElement[Any]:
        """One key column, see ``keys_of``."""
        column: sa.ColumnElement[Any] = rows.c[name]
        if self.dialect.key_collation and self.columns[name].family is Family.TEXT:
            return sa.collate(column, self.dialect.key_collation)
        return column

    def changed_since(self, columns: Any, time: datetime) -> sa.ColumnElement[bool]:
        """The condition that a row was changed at an aware time or later; naive columns are UTC."""
        assert self.changed_at is not None
        # as text, which each database converts to the column's type
        naive = time.astimezone(UTC).replace(tzinfo=None)
        is_date = self.columns[self.changed_at].family is Family.DATE
        text = naive.date().isoformat() if is_date else naive.isoformat(sep=" ", timespec="microseconds")
        changed_at: sa.ColumnElement[Any] = columns[self.changed_at]
        return changed_at >= sa.literal(text, RAW)

    def check_where(self, database: Database) -> None:
        """Raise SourceFault where the job's ``where`` is not a condition on the source's columns, and DatabaseFault."""
        if self.where is not None and (exc := fault_of(database, self.rows())):
            raise SourceFault(f"[source] where is not a condition on the rows of {self.table}: {exc}; fix it") from exc

    def check_visible(self, connection: sa.Connection, consequence: str) -> None:
        """Raise SourceFault where row-level security may hide rows; ``consequence`` says what would follow."""
        if self.dialect.hides_rows(connection, self.place):
            raise SourceFault(
                f"row-level security is active on {self.table} and may hide rows from this user: {consequence}."
                " Give the role BYPASSRLS, or a policy of its own with USING (true)"
            )

    def check_key(
        self, connection: sa.Connection, rows: sa.FromClause | None = None, *, counts_always: bool = False
    ) -> None:
        """Raise SourceFault where the key is NULL or not unique among some rows, or all.

        Nothing is counted if the database enforces it, unless ``counts_always`` is set, for a table whose constraints
        may have changed since.
        """
        rows = self.rows() if rows is None else rows
        may_be_null = self.key if counts_always else self.guarantee.may_be_null
        if may_be_null:
            has_null = sa.or_(*(self.key_of(rows, name).is_(None) for name in may_be_null))
            nulls = connection.execute(sa.select(sa.func.count()).select_from(rows).where(has_null)).scalar_one()
            if nulls:
                raise SourceFault(
                    f"the key of {self.table} ({_listed(self.key)}) is NULL in {counted(nulls, 'row')};"
                    " fill it, or leave those rows out with [source] where"
                )
        if (counts_always or not self.guarantee.is_unique) and (
            found := duplicates(connection, rows, self.keys_of(rows))
        ):
            listing = duplicates_query(self.dialect, self.table, self.key, self.where)
            raise SourceFault(
                f"the key of {self.table} ({_listed(self.key)}) is not unique: {found}"
                f"{f' ({self.guarantee.doubt})' if self.guarantee.doubt else ''}. Name every column that makes a"
                f" row unique in [source] key, or remove the duplicates, which `{listing}` lists"
            )

    def count(self, connection: sa.Connection) -> int:
        """The number of rows that the job covers."""
        return connection.execute(sa.select(sa.func.count()).select_from(self.rows())).scalar_one()

    def _column(self, name: str) -> sa.ColumnClause[Any]:
        return sa.column(exactly(name), RawType(self.columns[name].ddl))


def fault_of(database: Database, rows: sa.FromClause) -> DatabaseFault | None:
    """The error of a query for rows, if it fails; transient errors and denied access are raised.

    Raises TransientError, AccessDenied.
    """
    try:
        with database.read() as connection:
            connection.execute(sa.select(sa.literal(1)).select_from(rows).limit(0))
    except (TransientError, AccessDenied):
        raise
    except DatabaseFault as exc:
        return exc
    return None


def _no_table(database: Database, table: TableName) -> str:
    message = (
        f"there is no table or view {table} in {database.shown}; fix [source] table, or load it with"
        " `batch-scoring load`"
    )
    dialect = database.dialect
    if dialect.longest_name is not None and len(table.name.encode()) > dialect.longest_name:
        message += (
            f". {dialect.product} truncates a name after {dialect.longest_name} bytes:"
            " write it as it is in the database"
        )
    return message


def _check_lookback(job: Job, columns: Mapping[str, SourceColumn]) -> None:
    name = job.source.changed_at or ""
    if columns[name].family not in (Family.TIMESTAMP, Family.DATE, Family.UNKNOWN):
        raise SourceFault(
            f"job {job.name}: lookback needs timestamps in {name}, which is {columns[name].ddl};"
            " name a column of timestamps in changed_at, or remove lookback and sweep"
        )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
