"""A job, its source and a run that is open, for tests of what is due and how it is read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from support import Workspace, claim_run

from batch_scoring.domain.job import Job
from batch_scoring.domain.keys import EVERYTHING, KeyRange
from batch_scoring.domain.runs import ChunkCounts
from batch_scoring.store.bulk.choice import bulk_for
from batch_scoring.store.bulk.contract import Bulk
from batch_scoring.store.bulk.portable import PortableBulk
from batch_scoring.store.due.query import DueQuery
from batch_scoring.store.due.reader import Chunk, KeysetReader
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.names import driver_sql
from batch_scoring.store.outcomes.chunk import Predictions, Quarantined, commit_chunk, prepare_writes
from batch_scoring.store.schema import job_tables
from batch_scoring.store.schema.layout import PredictionsLayout, layout_of
from batch_scoring.store.schema.tables import metadata
from batch_scoring.store.source.rows import SourceRows
from batch_scoring.store.source.table import SourceTable

NO_LIMIT = 1_000_000
Key = tuple[str, ...]
"""A key as text, so that the ways of reading it can be compared."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Desk:
    """A job, its tables and a run that is open, on a real database."""

    workspace: Workspace
    database: Database
    source: SourceTable
    layout: PredictionsLayout
    run_id: int
    ways: tuple[Bulk, ...]
    """Every way this database has of moving rows, the fastest first."""

    @property
    def query(self) -> DueQuery:
        """What is due in the whole source."""
        return DueQuery(source=self.source, layout=self.layout)

    def execute(self, statement: str) -> None:
        """Run a statement as it stands."""
        execute(self.database, statement)

    def count(self) -> int:
        """How many rows are due."""
        with self.database.read() as connection:
            return self.query.count(connection).total

    def walk(self, chunk_rows: int, *, way: int = 0) -> list[KeyRange]:
        """The ranges of the chunks that hold rows, in the order in which a walk finds them."""
        remaining: KeysetReader | None = self.start(way=way)
        ranges = []
        while remaining is not None:
            chunk = self.step(remaining, chunk_rows)
            if len(chunk.rows):
                ranges.append(chunk.range)
            remaining = chunk.rest
        return ranges

    def start(self, *, way: int = 0, due_count: int | None = None) -> KeysetReader:
        """A walk through everything that is due."""
        return KeysetReader(query=self.query, bulk=self.ways[way], features=[], due_count=due_count)

    def step(self, remaining: KeysetReader, chunk_rows: int) -> Chunk:
        with self.database.read() as connection:
            return remaining.next_chunk(connection, chunk_rows)

    def read(
        self, chunk: KeyRange = EVERYTHING, *, features: Sequence[str] = (), limit: int = NO_LIMIT, way: int = 0
    ) -> SourceRows:
        with self.database.read() as connection:
            return self.query.read(connection, self.ways[way], chunk, features, limit)

    def keys(self, chunk: KeyRange = EVERYTHING) -> list[Key]:
        """The keys that are due, in order; every way of reading must find the same."""
        found = [sorted(keys_of(self.read(chunk, way=way))) for way in range(len(self.ways))]
        assert all(keys == found[0] for keys in found)
        return found[0]

    def due(self) -> list[str]:
        """The keys that are due, where a key is one column; plan, count and read must agree."""
        keys = [key for (key,) in self.keys()]
        assert self.count() == len(keys)
        return keys

    def settle(self, rows: SourceRows | None = None, *, quarantine: Sequence[str] = (), way: int = 0) -> ChunkCounts:
        """Score what is due, or set it aside where its key is named."""
        rows = self.read(way=way) if rows is None else rows
        aside = [i for i, key in enumerate(keys_of(rows)) if key[0] in quarantine]
        scored = [i for i in range(len(rows)) if i not in aside]
        return commit_chunk(
            self.database,
            self.ways[way],
            self.run_id,
            prepare_writes(
                self.ways[way],
                self.layout,
                rows,
                Predictions(
                    positions=scored,
                    scores=[0.5] * len(scored),
                    labels=["Y"] * len(scored),
                    model_version=1,
                    unseen_category_count=0,
                ),
                Quarantined(
                    positions=aside,
                    reason_codes=["missing_value"] * len(aside),
                    column_names=[None] * len(aside),
                    messages=["the model needs a value here and the column is NULL"] * len(aside),
                ),
            ),
        )


def keys_of(rows: SourceRows) -> list[Key]:
    columns = [values if isinstance(values, list) else values.to_pylist() for values in rows.keys]
    return [tuple(str(value) for value in key) for key in zip(*columns, strict=True)]


def execute(database: Database, statement: str) -> None:
    with database.write(create=True) as connection:
        connection.exec_driver_sql(driver_sql(connection.dialect, statement))


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def job_text(
    *,
    key: Sequence[str] = ("id",),
    changed_at: str | None = "updated_at",
    where: str | None = None,
    table: str = "applicants",
) -> str:
    return "\n".join(
        [
            "[source]",
            f"table = {json.dumps(table)}",
            f"key = {json.dumps(list(key))}",
            *([f"changed_at = {json.dumps(changed_at)}"] if changed_at else []),
            *([f"where = {json.dumps(where)}"] if where else []),
            '[model]\nname = "loans"\n[predictions]\npositive_label = "Y"',
        ]
    )


Prepare = Callable[..., Desk]


def prepared_desk(stack: ExitStack, workspace: Workspace, statements: Sequence[str], job: Mapping[str, Any]) -> Desk:
    database = stack.enter_context(workspace.database())
    for statement in statements:
        execute(database, statement)
    written = workspace.write_job("loans", job_text(**job))
    with database.write(create=True) as connection:
        metadata.create_all(connection)
    source = inspect_source(database, written)
    layout = layout_of(written, source)
    job_tables.ensure_tables(database, written, layout)
    opened = claim_run(database, job="loans", job_config={}, environment={}, stalled_after=timedelta(minutes=5))
    fastest = bulk_for(database)
    return Desk(
        workspace=workspace,
        database=database,
        source=source,
        layout=layout,
        run_id=opened.run_id,
        ways=(fastest,) if isinstance(fastest, PortableBulk) else (fastest, PortableBulk()),
    )


def inspect_source(database: Database, job: Job) -> SourceTable:
    with database.read() as connection:
        return SourceTable.inspect(database, connection, job)


APPLICANTS = "CREATE TABLE applicants (id INTEGER NOT NULL PRIMARY KEY, income INTEGER, updated_at TIMESTAMP)"
THREE = (
    "INSERT INTO applicants VALUES (1, 100, '2026-01-01 10:00:00'), (2, 200, '2026-01-01 10:00:00.123456'),"
    " (3, 300, NULL)"
)


def plain(value: Any) -> Any:
    return value.as_py() if hasattr(value, "as_py") else value


def insert_keys(desk: Desk, keys: Sequence[tuple[Any, ...]]) -> None:
    table = sa.table(desk.source.table.name, *(sa.column(name) for name in desk.source.key))
    values: dict[str, Any] = {name: sa.bindparam(f"v{i}") for i, name in enumerate(desk.source.key)}
    with desk.database.write() as connection:
        # one statement each: a driver may type a list of values after its first
        for key in keys:
            connection.execute(sa.insert(table).values(values), {f"v{i}": value for i, value in enumerate(key)})


def assert_each_key_is_scored_once_and_superseded_once(desk: Desk, count: int) -> None:
    chunk_rows = max(2, count // 4)
    for way in range(len(desk.ways)):
        for version, superseded in ((f"2026-01-01 00:00:0{way}", way), (f"2026-02-01 00:00:0{way}", 1)):
            _set_version(desk, version)
            assert desk.count() == count
            settled = [desk.settle(desk.read(chunk, way=way), way=way) for chunk in desk.walk(chunk_rows, way=way)]
            assert [counts.scored for counts in settled] == _sizes(count, chunk_rows)
            assert sum(counts.superseded for counts in settled) == count * min(1, superseded)
            assert desk.count() == 0


def _sizes(count: int, chunk_rows: int) -> list[int]:
    """How many rows the chunks have: as many as fit, the rest in the last."""
    full, rest = divmod(count, chunk_rows)
    return [chunk_rows] * full + [rest] * bool(rest)


def _set_version(desk: Desk, version: str) -> None:
    assert desk.source.changed_at is not None
    name = desk.source.table.name
    desk.execute(f"UPDATE {quoted(name)} SET {quoted(desk.source.changed_at)} = '{version}'")


def source_keys(desk: Desk) -> Counter[tuple[Any, ...]]:
    return _selected(desk, quoted(desk.source.table.name))


def stored_keys(desk: Desk) -> Counter[tuple[Any, ...]]:
    return _selected(desk, "predictions_current")


def _selected(desk: Desk, table: str) -> Counter[tuple[Any, ...]]:
    columns = ", ".join(quoted(name) for name in desk.source.key)
    with desk.database.read() as connection:
        rows = connection.exec_driver_sql(driver_sql(connection.dialect, f"SELECT {columns} FROM {table}"))
        return Counter(tuple(bytes(v) if isinstance(v, memoryview) else v for v in row) for row in rows)


NASTY_TEXTS = [
    "",
    " ",
    " leading and trailing ",
    "a",
    "A",
    "ä",
    "a\u0308",
    "\\.",
    "\\N",
    "NULL",
    '"',
    '""',
    "'",
    "it's; DROP TABLE applicants --",
    "new\nline",
    "carriage\r\nreturn",
    "\r",
    "\n",
    "tab\there",
    "comma,comma",
    "100%",
    "%s %(k0)s :k0",
    "日本語",
    "😀",
    "\u2028",
    "\ufeff",
    "1",
    "01",
    "1.0",
    "x" * 500,
]
