"""What is due: the source compared with its outcomes, counted and read.

No watermark is kept. A source row is due when neither a current prediction nor an open quarantine entry stands
for its present version, and that is asked of the database each time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import NoSuchTableError

from batch_scoring.counting import counted
from batch_scoring.domain.column_types import Family
from batch_scoring.domain.job import Job
from batch_scoring.domain.keys import EVERYTHING, Key, KeyRange, TextKey
from batch_scoring.domain.names import TableName
from batch_scoring.errors import AccessDenied, DatabaseFault, InputFault, PassingFault, SourceFault
from batch_scoring.store.bulk.contract import Bulk, Values
from batch_scoring.store.due.comparison import holds_for, outcome_table, within
from batch_scoring.store.engine.columns import SourceColumn
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.dialects.dialect import Dialect
from batch_scoring.store.engine.names import exactly
from batch_scoring.store.engine.reflection import source_columns
from batch_scoring.store.engine.sql_types import RAW, RawType
from batch_scoring.store.schema.layout import PredictionsLayout
from batch_scoring.store.source.rows import DueCount, SourceRows, moments, plain
from batch_scoring.store.source.selection import Selection
from batch_scoring.store.source.uniqueness import Guarantee, duplicates, duplicates_query, guarantee
from batch_scoring.store.source.values import candidates, unmatched
from batch_scoring.store.source.where_clause import broken_structure

SCORED_ONCE = (
    "[source] names no changed_at, so each row is scored once and a change of it is not noticed; name the column that"
    " holds when a row last changed, or use `batch-scoring rescore`"
)
"""What a job without a version of its rows does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """The table or view a job reads, as the database declares it."""

    table: TableName
    key: tuple[str, ...]
    changed_at: str | None
    where: str | None
    columns: dict[str, SourceColumn]
    guarantee: Guarantee
    """What the database itself enforces of the key."""
    dialect: Dialect
    since: datetime | None = None
    """The start of the lookback window: rows that were last changed before it are not looked at."""
    again: Selection | None = None
    """A rescore: these rows are due, whatever stands for them."""

    @classmethod
    def inspect(cls, database: Database, connection: sa.Connection, job: Job) -> Source:
        """Look the source up. Raises SourceFault naming the table, or every column, that is missing."""
        table = job.source.table_name
        if job.source.where is not None and (
            problem := broken_structure(job.source.where, database.dialect.conditions)
        ):
            raise SourceFault(f"[source] where is no condition on the rows of {table}: it {problem}")
        with database.faults():
            try:
                columns = source_columns(connection, table)
            except NoSuchTableError:
                raise SourceFault(f"job {job.name}: {_no_table(database, table)}") from None
            found = database.dialect.structure(connection, table)
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
            key=key,
            changed_at=job.source.changed_at,
            where=job.source.where,
            columns=columns,
            guarantee=guarantee(table, key, found),
            dialect=database.dialect,
        )

    @property
    def key_is_enforced(self) -> bool:
        """The database itself keeps the key unique and free of NULL."""
        return self.guarantee.holds

    def changed_columns(self, now: Source) -> list[str]:
        """Columns that are of another type now, each with both."""
        return [
            f"{name} was {column.ddl} and is {now.columns[name].ddl}"
            for name, column in self.columns.items()
            if name in now.columns and now.columns[name].ddl != column.ddl
        ]

    def layout(self, job: Job) -> PredictionsLayout:
        """The shape of the job's predictions table, typed after this source."""
        for name in self.key:
            column = self.columns[name]
            if column.is_inexact:
                raise SourceFault(
                    f"job {job.name}: key column {name} is of the inexact type {column.ddl};"
                    " use an exact key, or a view that casts it"
                )
            if not column.can_be_key:
                raise SourceFault(
                    f"job {job.name}: key column {name} is of type {column.ddl}, which cannot be a key;"
                    f" use another key, or a view that casts it, such as {column.cast_to('text')}"
                )
        changed_at = self.columns[self.changed_at].ddl if self.changed_at else "TIMESTAMP"
        return PredictionsLayout(
            table=job.predictions.table_name,
            kind=job.predictions.kind,
            key=tuple((name, self.columns[name].ddl) for name in self.key),
            changed_at_type=changed_at,
        )

    def check_where(self, database: Database) -> None:
        """Raise SourceFault where the job's ``where`` is no condition on the source's columns."""
        if self.where is None:
            return
        if exc := self._fault_of_rows(database):
            raise SourceFault(f"[source] where is no condition on the rows of {self.table}: {exc}; fix it") from exc

    def check_selection(self, database: Database) -> None:
        """Raise InputFault where the database cannot evaluate the conditions of a rescore."""
        if self.again is not None and self.again.where and (exc := self._fault_of_rows(database)):
            raise InputFault(
                f"--where cannot be evaluated on the rows of {self.table}: {exc}; compare each column with values of"
                " its type"
            ) from exc

    def _fault_of_rows(self, database: Database) -> DatabaseFault | None:
        """What the database finds wrong with the query for the rows. Raises PassingFault, AccessDenied."""
        try:
            with database.read() as connection:
                connection.execute(sa.select(sa.literal(1)).select_from(self._rows([])).limit(0))
        except (PassingFault, AccessDenied):
            raise
        except DatabaseFault as exc:
            return exc
        return None

    def check_key(self, connection: sa.Connection, *, counts_always: bool = False) -> None:
        """Raise SourceFault where the key is NULL or not unique; free where the database enforces it.

        ``counts_always`` counts there too, for a table whose constraints may have changed since.
        """
        rows = self._rows([])
        may_be_null = self.key if counts_always else self.guarantee.may_be_null
        if may_be_null:
            keys = [self._key_of(rows, name) for name in may_be_null]
            has_null = sa.or_(*(key.is_(None) for key in keys))
            nulls = connection.execute(sa.select(sa.func.count()).select_from(rows).where(has_null)).scalar_one()
            if nulls:
                raise SourceFault(
                    f"the key of {self.table} ({_listed(self.key)}) is NULL in {counted(nulls, 'row')};"
                    " fill it, or leave those rows out with [source] where"
                )
        if counts_always or not self.guarantee.is_unique:
            keys = [self._key_of(rows, name) for name in self.key]
            if found := duplicates(connection, rows, keys):
                listing = duplicates_query(self.dialect, self.table, self.key, self.where)
                raise SourceFault(
                    f"the key of {self.table} ({_listed(self.key)}) is not unique: {found}"
                    f"{f' ({self.guarantee.doubt})' if self.guarantee.doubt else ''}. Name every column that makes a"
                    f" row unique in [source] key, or remove the duplicates, which `{listing}` lists"
                )

    def cut(self, connection: sa.Connection, widths: Iterable[int]) -> list[KeyRange]:
        """Key ranges of so many source rows each, the last of all others: every row there will ever be is in one."""
        ranges = [EVERYTHING]
        for width in widths:
            end = self.key_at(connection, ranges[-1], width)
            if end is None:
                break
            ranges[-1] = replace(ranges[-1], upto=end)
            ranges.append(KeyRange(after=end))
        return ranges

    def key_at(self, connection: sa.Connection, chunk: KeyRange, rows: int) -> Key | None:
        """The key of the n-th source row of a range, due or not; None where the range has fewer rows."""
        source = self._rows([])
        keys = [self._key_of(source, name) for name in self.key]
        query = sa.select(*keys).where(*within(keys, chunk)).order_by(*keys).offset(rows - 1).limit(1)
        found = connection.execute(query).one_or_none()
        return None if found is None else tuple(found)

    def read(
        self,
        connection: sa.Connection,
        bulk: Bulk,
        layout: PredictionsLayout,
        chunk: KeyRange,
        features: Sequence[str],
        limit: int,
        *,
        with_current: bool = False,
    ) -> SourceRows:
        """Read the first ``limit`` due rows of a chunk in key order; only those that are due at this moment.

        ``with_current`` adds the current score and label. Raises SourceFault, TooMuchAtOnce.
        """
        due = self._due(layout, chunk, features, with_current=with_current).limit(limit)
        families = [
            *(Family.INTEGER if self.columns[name].family is Family.INTEGER else Family.OTHER for name in self.key),
            *([self._family_of_version] if self.changed_at else []),
            *(self.columns[name].family for name in features),
            Family.TIMESTAMP,
            Family.TIMESTAMP,
            Family.INTEGER,
            *([Family.NUMBER, Family.TEXT] if with_current else []),
        ]
        if chunk.upto is not None and self.since is None:
            due = due.execution_options(reads_a_range=True)
        columns = bulk.fetch(connection, due, families)
        width = len(self.key)
        current = [plain(values) for values in columns[-2:]] if with_current else [None, None]
        rest = columns[width : len(columns) - 2 if with_current else None]
        changed_at = rest.pop(0) if self.changed_at else None
        version = zip([*self.key, self.changed_at], [*columns[:width], changed_at or []], strict=True)
        self._check_text({name: values for name, values in version if name})
        return SourceRows(
            keys=tuple(columns[:width]),
            changed_at=changed_at,
            features=dict(zip(features, rest[: len(features)], strict=True)),
            current_since=moments(rest[-3]),
            quarantined_since=moments(rest[-2]),
            attempts=plain(rest[-1]),
            current_scores=current[0],
            current_labels=current[1],
        )

    @property
    def _family_of_version(self) -> Family:
        """Moments are text either way; what else a version may be stays as the driver has it."""
        family = self.columns[self.changed_at or ""].family
        return family if family in (Family.DATE, Family.TIMESTAMP) else Family.OTHER

    def _check_text(self, columns: Mapping[str, Values]) -> None:
        """Raise SourceFault where a key or version is text that cannot be written back."""
        for name, values in columns.items():
            if not isinstance(values, list):
                continue  # Arrow has checked it
            try:
                "".join(value for value in values if type(value) is str).encode()
            except UnicodeEncodeError:
                raise SourceFault(
                    f"column {name} of {self.table} holds text that is not valid UTF-8;"
                    " mend it, or leave those rows out with [source] where"
                ) from None

    def find(self, connection: sa.Connection, keys: Iterable[TextKey]) -> tuple[list[Key], list[TextKey]]:
        """The keys, given as people write them, that are in the source, and those that are not.

        Raises InputFault where a text is no value of its column.
        """
        columns = [self.columns[name] for name in self.key]
        texts = list(keys)
        wanted = dict.fromkeys(key for text in texts for key in candidates(text, columns))
        rows = self._rows([])
        names = [self._key_of(rows, name) for name in self.key]
        shown = [self.columns[name].as_read(key) for name, key in zip(self.key, names, strict=True)]
        found = {
            tuple(key): None
            for piece in Selection(keys=tuple(wanted)).pieces()
            for key in connection.execute(sa.select(*shown).where(*piece.of_keys(names)))
        }
        return list(found), unmatched(texts, columns, found)

    def find_anywhere(self, connection: sa.Connection, key: TextKey) -> bool:
        """Whether the table has the key, inside the job's ``where`` or not."""
        return bool(replace(self, where=None).find(connection, [key])[0])

    def count_due_of(self, connection: sa.Connection, layout: PredictionsLayout, keys: tuple[Key, ...]) -> int:
        """How many of the rows of these keys are due."""
        rows = self._rows([])
        names = [self._key_of(rows, name) for name in self.key]
        due = sa.select(sa.func.count()).select_from(rows)
        due = due.where(*self._is_due(rows, layout, EVERYTHING))
        pieces = Selection(keys=keys).pieces()
        return sum(connection.execute(due.where(*piece.of_keys(names))).scalar_one() for piece in pieces)

    def changed_at_of(self, connection: sa.Connection, key: Key) -> Any:
        """The version of a key's row."""
        assert self.changed_at is not None
        rows = self._rows([])
        names = [self._key_of(rows, name) for name in self.key]
        query = sa.select(rows.c[self.changed_at]).where(*Selection(keys=(key,)).of_keys(names))
        return connection.execute(query).scalar_one_or_none()

    def is_between(self, connection: sa.Connection, key: Key, first: Key, last: Key) -> bool:
        """Whether a key of the source lies between two others, both included, in the order of the database."""
        rows = self._rows([])
        names = [self._key_of(rows, name) for name in self.key]
        from_first = sa.or_(sa.and_(*within(names, KeyRange(after=first))), *Selection(keys=(first,)).of_keys(names))
        inside = [*Selection(keys=(key,)).of_keys(names), *within(names, KeyRange(upto=last)), from_first]
        return connection.execute(sa.select(sa.func.count()).select_from(rows).where(*inside)).scalar_one() > 0

    def count_due(
        self, connection: sa.Connection, layout: PredictionsLayout, *, lookback_from: datetime | None = None
    ) -> DueCount:
        """How many rows are due now, and how many of them a lookback window from that moment leaves out."""
        rows = self._rows([])
        counts: list[sa.ColumnElement[Any]] = [sa.func.count()]
        if lookback_from is not None:
            inside = sa.func.sum(sa.case((self._changed_since(rows.c, lookback_from), 1), else_=0))
            counts.append(sa.func.count() - sa.func.coalesce(inside, 0))
        due = sa.select(*counts).select_from(rows)
        found = connection.execute(due.where(*self._is_due(rows, layout, EVERYTHING))).one()
        return DueCount(total=found[0], outside_lookback=int(found[1]) if lookback_from is not None else 0)

    def due_at_most(self, counted: int) -> int:
        """How many rows may be due, given what was counted: not more than keys are asked for."""
        keys = None if self.again is None else self.again.keys
        return counted if keys is None else min(counted, len(keys))

    def count(self, connection: sa.Connection) -> int:
        """How many rows the job speaks of."""
        return connection.execute(sa.select(sa.func.count()).select_from(self._rows([]))).scalar_one()

    def _rows(self, features: Iterable[str]) -> sa.Subquery:
        """The rows the job speaks of. Its own SELECT, so that ``where`` sees the source's columns only."""
        asked = [part.column for condition in self.again.where for part in condition.comparisons] if self.again else []
        compared = [name for name in asked if name in self.columns]
        names = dict.fromkeys([*self.key, *([self.changed_at] if self.changed_at else []), *features, *compared])
        table = sa.table(exactly(self.table.name), *map(self._column, names), schema=exactly(self.table.schema))
        query = sa.select(*table.c)
        if self.where:
            query = query.where(sa.literal_column(f"({self.where}\n)"))  # it may end in a comment
        if self.since is not None:
            query = query.where(self._changed_since(table.c, self.since))
        if self.again is not None:
            query = query.where(*(condition.sql(self.columns, table) for condition in self.again.where))
        return query.subquery("source")

    def _column(self, name: str) -> sa.ColumnClause[Any]:
        return sa.column(exactly(name), RawType(self.columns[name].ddl))

    def _changed_since(self, columns: Any, moment: datetime) -> sa.ColumnElement[bool]:
        assert self.changed_at is not None
        # as text, which each database reads as the column's own type: naive columns hold UTC
        naive = moment.astimezone(UTC).replace(tzinfo=None)
        is_date = self.columns[self.changed_at].family is Family.DATE
        text = naive.date().isoformat() if is_date else naive.isoformat(sep=" ", timespec="microseconds")
        changed_at: sa.ColumnElement[Any] = columns[self.changed_at]
        return changed_at >= sa.literal(text, RAW)

    def _key_of(self, rows: sa.FromClause, name: str) -> sa.ColumnElement[Any]:
        column: sa.ColumnElement[Any] = rows.c[name]
        if self.dialect.key_collation and self.columns[name].family is Family.TEXT:
            return sa.collate(column, self.dialect.key_collation)  # keys are exact, whatever the source's collation
        return column

    def _is_due(
        self, rows: sa.FromClause, layout: PredictionsLayout, chunk: KeyRange
    ) -> Iterator[sa.ColumnElement[bool]]:
        """Neither a current prediction nor an open quarantine entry stands for the row's present version."""
        keys = [self._key_of(rows, name) for name in self.key]
        yield from within(keys, chunk)
        if self.again is not None:
            yield from self.again.of_keys(keys)
            if self.again.asks_for_a_prediction:
                current = outcome_table(layout.table, layout).alias()
                chosen = self.again.of_prediction(current)
                yield sa.exists().where(*holds_for(keys, current, layout, chunk), *chosen)
        for table in (layout.table, layout.quarantine):
            outcome = outcome_table(table, layout).alias()
            same = holds_for(keys, outcome, layout, chunk)
            if self.again is not None:
                same.append(outcome.c.run_id >= self.again.since_run)
            elif self.changed_at is not None:
                same.append(outcome.c.source_changed_at.is_not_distinct_from(rows.c[self.changed_at]))
            yield ~sa.exists().where(*same)

    def _due(
        self,
        layout: PredictionsLayout,
        chunk: KeyRange,
        features: Sequence[str],
        *,
        with_current: bool,
    ) -> sa.Select[Any]:
        """The due rows in key order, beside the outcomes of an older version that they have."""
        rows = self._rows(features)
        predictions = outcome_table(layout.table, layout).alias("current_prediction")
        quarantine = outcome_table(layout.quarantine, layout).alias("open_entry")
        keys = [self._key_of(rows, name) for name in self.key]
        joined: sa.FromClause = rows
        conditions = within(keys, chunk)
        for outcome in (predictions, quarantine):
            joined = joined.outerjoin(outcome, sa.and_(*holds_for(keys, outcome, layout, chunk)))
            conditions.append(self._is_older(outcome, rows))
        if self.again is not None:
            conditions += [*self.again.of_keys(keys), *self.again.of_prediction(predictions)]
        return (
            sa.select(
                *(
                    self.columns[name].as_read(key).label(f"k{i}")
                    for i, (name, key) in enumerate(zip(self.key, keys, strict=True))
                ),
                *([rows.c[self.changed_at].label("changed")] if self.changed_at else []),
                *(self.columns[name].as_read(rows.c[name]).label(f"f{i}") for i, name in enumerate(features)),
                predictions.c.valid_from.label("current_since"),
                quarantine.c.valid_from.label("quarantined_since"),
                quarantine.c.attempts.label("attempts"),
                *([predictions.c.score, predictions.c.prediction] if with_current else []),
            )
            .select_from(joined)
            .where(*conditions)
            .order_by(*keys)
        )

    def _is_older(self, outcome: sa.FromClause, rows: sa.FromClause) -> sa.ColumnElement[bool]:
        """The outcome that was joined to a row is none, or one of another version; for a rescore, of an earlier run."""
        differs: sa.ColumnElement[bool] = sa.false()
        if self.again is not None:
            differs = outcome.c.run_id < self.again.since_run
        elif self.changed_at is not None:
            differs = outcome.c.source_changed_at.is_distinct_from(rows.c[self.changed_at])
        # a CASE, because of "IS NULL OR" PostgreSQL believes that it leaves one row, and then joins row by row
        return sa.case((outcome.c.valid_from.is_(None), sa.true()), else_=differs)


def _no_table(database: Database, table: TableName) -> str:
    message = (
        f"there is no table or view {table} in {database.shown}; fix [source] table, or load it with"
        " `batch-scoring load`"
    )
    dialect = database.dialect
    if dialect.longest_name is not None and len(table.name.encode()) > dialect.longest_name:
        message += (
            f". {dialect.product} cuts a name after {dialect.longest_name} bytes: write it as it is in the database"
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
