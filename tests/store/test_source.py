"""What is due, whatever the key, the clock and the names of columns; cut into chunks that miss and repeat nothing."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import PostgresServer, Workspace, claim_run

from batch_scoring.domain.job import Job
from batch_scoring.domain.keys import EVERYTHING, KeyRange
from batch_scoring.domain.runs import ChunkCounts
from batch_scoring.errors import DatabaseFault, SourceFault
from batch_scoring.store.bulk.choice import bulk_for
from batch_scoring.store.bulk.contract import Bulk
from batch_scoring.store.bulk.portable import PortableBulk
from batch_scoring.store.due.query import DueQuery
from batch_scoring.store.due.reader import Chunk, KeysetReader
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.names import driver_sql
from batch_scoring.store.outcomes.chunk import Predictions, Quarantined, commit_chunk, prepare_writes
from batch_scoring.store.schema import job_tables, upgrade
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
        _execute(self.database, statement)

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
        found = [sorted(_keys(self.read(chunk, way=way))) for way in range(len(self.ways))]
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
        aside = [i for i, key in enumerate(_keys(rows)) if key[0] in quarantine]
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


def _keys(rows: SourceRows) -> list[Key]:
    columns = [values if isinstance(values, list) else values.to_pylist() for values in rows.keys]
    return [tuple(str(value) for value in key) for key in zip(*columns, strict=True)]


def _execute(database: Database, statement: str) -> None:
    with database.write(create=True) as connection:
        connection.exec_driver_sql(driver_sql(connection.dialect, statement))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _job_text(
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


@pytest.fixture(scope="module")
def one_postgresql_url(postgres: PostgresServer) -> str:
    return postgres.create_database()


@pytest.fixture
def postgresql_url(one_postgresql_url: str) -> str:
    """One database for the tests of this file, wiped before each: to make one takes longer than most of them."""
    database = Database(one_postgresql_url)
    _execute(database, "DROP SCHEMA IF EXISTS public, staging CASCADE; CREATE SCHEMA public")
    database.dispose()
    return one_postgresql_url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


Prepare = Callable[..., Desk]


@pytest.fixture
def prepare(workspace: Workspace) -> Iterator[Prepare]:
    """Makes the source with the statements given, the job's tables, and opens a run."""
    with ExitStack() as stack:
        yield lambda *statements, **job: _prepared(stack, workspace, statements, job)


@pytest.fixture
def prepare_postgresql(postgresql_workspace: Workspace) -> Iterator[Prepare]:
    with ExitStack() as stack:
        yield lambda *statements, **job: _prepared(stack, postgresql_workspace, statements, job)


@pytest.fixture
def prepare_sqlite(sqlite_workspace: Workspace) -> Iterator[Prepare]:
    with ExitStack() as stack:
        yield lambda *statements, **job: _prepared(stack, sqlite_workspace, statements, job)


def _prepared(stack: ExitStack, workspace: Workspace, statements: Sequence[str], job: Mapping[str, Any]) -> Desk:
    database = stack.enter_context(workspace.database())
    for statement in statements:
        _execute(database, statement)
    written = workspace.write_job("loans", _job_text(**job))
    with database.write(create=True) as connection:
        metadata.create_all(connection)
    source = _source(database, written)
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


def _source(database: Database, job: Job) -> SourceTable:
    with database.read() as connection:
        return SourceTable.inspect(database, connection, job)


APPLICANTS = "CREATE TABLE applicants (id INTEGER NOT NULL PRIMARY KEY, income INTEGER, updated_at TIMESTAMP)"
THREE = (
    "INSERT INTO applicants VALUES (1, 100, '2026-01-01 10:00:00'), (2, 200, '2026-01-01 10:00:00.123456'),"
    " (3, 300, NULL)"
)


def test_rows_are_due_until_they_have_a_current_prediction(prepare: Prepare) -> None:
    desk = prepare(APPLICANTS, THREE)
    assert desk.due() == ["1", "2", "3"]

    desk.settle()

    assert desk.due() == []


def test_a_new_row_is_due_however_old_its_timestamp(prepare: Prepare) -> None:
    desk = prepare(APPLICANTS, THREE)
    desk.settle()

    desk.execute("INSERT INTO applicants VALUES (0, 5, '1970-01-01 00:00:00'), (4, 5, NULL)")

    assert desk.due() == ["0", "4"]


@pytest.mark.parametrize("changed", ["2026-01-01 10:00:00.000001", "1999-12-31 23:59:59", "2999-01-01 00:00:00"])
def test_a_changed_row_is_due_whether_its_timestamp_went_forward_or_back(prepare: Prepare, changed: str) -> None:
    desk = prepare(APPLICANTS, THREE)
    desk.settle()

    desk.execute(f"UPDATE applicants SET updated_at = '{changed}' WHERE id = 1")

    assert desk.due() == ["1"]
    assert desk.settle().superseded == 1
    assert desk.due() == []


def test_a_timestamp_that_becomes_null_or_stops_being_null_is_a_change(prepare: Prepare) -> None:
    desk = prepare(APPLICANTS, THREE)
    desk.settle()

    desk.execute("UPDATE applicants SET updated_at = NULL WHERE id = 1")
    desk.execute("UPDATE applicants SET updated_at = '2026-01-01 10:00:00' WHERE id = 3")

    assert desk.due() == ["1", "3"]
    desk.settle()
    assert desk.due() == []


def test_a_row_whose_other_columns_change_without_its_timestamp_is_not_due(prepare: Prepare) -> None:
    desk = prepare(APPLICANTS, THREE)
    desk.settle()

    desk.execute("UPDATE applicants SET income = income + 1")

    assert desk.due() == []


def test_without_a_timestamp_column_presence_decides(prepare: Prepare) -> None:
    desk = prepare(APPLICANTS, THREE, changed_at=None)
    assert desk.read().changed_at is None
    desk.settle()

    desk.execute("UPDATE applicants SET updated_at = '2027-01-01 00:00:00', income = 0")
    assert desk.due() == []
    desk.execute("INSERT INTO applicants VALUES (4, 5, NULL)")
    assert desk.due() == ["4"]


def test_a_row_read_before_it_changed_is_due_again_after_its_commit(prepare: Prepare) -> None:
    desk = prepare(APPLICANTS, THREE)
    read = desk.read()
    desk.execute("UPDATE applicants SET updated_at = '2026-02-02 00:00:00' WHERE id = 2")

    desk.settle(read)

    assert desk.due() == ["2"]


def test_a_quarantined_row_is_due_again_when_it_changes_and_not_before(prepare: Prepare) -> None:
    desk = prepare(APPLICANTS, THREE)
    desk.settle(quarantine=["2"])
    assert desk.due() == []

    desk.execute("UPDATE applicants SET updated_at = '2025-05-05 00:00:00' WHERE id = 2")

    assert desk.due() == ["2"]
    desk.settle(quarantine=["2"])
    assert desk.due() == []
    desk.execute("UPDATE applicants SET updated_at = NULL WHERE id = 2")
    assert desk.due() == ["2"]
    desk.settle()
    assert desk.due() == []


def test_a_quarantined_row_without_a_timestamp_column_waits_until_its_entry_is_closed(prepare: Prepare) -> None:
    desk = prepare(APPLICANTS, THREE, changed_at=None)
    desk.settle(quarantine=["2"])
    desk.execute("UPDATE applicants SET income = 1")
    assert desk.due() == []

    desk.execute("UPDATE predictions_quarantine SET valid_to = '2999-01-01 00:00:00.000000'")

    assert desk.due() == ["2"]


def test_a_key_with_a_prediction_of_its_former_version_and_an_entry_of_its_present_one_is_not_due(
    prepare: Prepare,
) -> None:
    desk = prepare(APPLICANTS, THREE)
    desk.settle()
    desk.execute("UPDATE applicants SET updated_at = '2026-03-03 00:00:00' WHERE id = 2")

    desk.settle(quarantine=["2"])

    assert desk.due() == []
    desk.execute("UPDATE applicants SET updated_at = '2026-04-04 00:00:00' WHERE id = 2")
    assert desk.due() == ["2"]


def test_a_superseded_prediction_makes_nothing_up_to_date(prepare: Prepare) -> None:
    desk = prepare(APPLICANTS, THREE)
    desk.settle()

    desk.execute("UPDATE predictions SET valid_to = '2999-01-01 00:00:00.000000' WHERE id = 2")

    assert desk.due() == ["2"]


def test_a_row_that_left_the_source_is_not_due_and_keeps_its_prediction(prepare: Prepare) -> None:
    desk = prepare(APPLICANTS, THREE)
    desk.settle()
    desk.execute("DELETE FROM applicants WHERE id = 2")

    assert desk.due() == []
    assert desk.workspace.scalar("SELECT count(*) FROM predictions_current") == 3


def test_due_rows_come_with_what_stands_for_their_key_now(prepare: Prepare) -> None:
    desk = prepare(APPLICANTS, THREE)
    desk.settle(quarantine=["2"])
    desk.execute("UPDATE applicants SET updated_at = '2026-05-05 00:00:00' WHERE id < 3")
    desk.execute("INSERT INTO applicants VALUES (4, NULL, NULL)")

    for way in range(len(desk.ways)):
        rows = desk.read(features=["income"], way=way)
        found = {
            key: (*rest, income)
            for (key,), *rest, income in zip(
                _keys(rows),
                rows.current_since,
                rows.quarantined_since,
                rows.attempts,
                list(map(_plain, rows.features["income"])),
                strict=True,
            )
        }

        assert set(found) == {"1", "2", "4"}
        predicted = found["1"][0]
        assert predicted is not None
        assert found["1"] == (predicted, None, None, 100)
        assert found["2"] == (None, predicted, 1, 200)
        assert found["4"] == (None, None, None, None)


def _plain(value: Any) -> Any:
    return value.as_py() if hasattr(value, "as_py") else value


@pytest.mark.parametrize(
    "ddl", ["TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "TIMESTAMP(3)", "DATE", "BIGINT", "TEXT", "NUMERIC(30, 10)"]
)
def test_a_version_of_any_type_is_compared_as_the_database_holds_it(prepare: Prepare, ddl: str) -> None:
    first, second = {
        "BIGINT": ("9007199254740993", "9007199254740992"),
        "NUMERIC(30, 10)": ("12345678901234567890.0000000001", "12345678901234567890.0000000002"),
        "DATE": ("'2026-01-01'", "'2025-12-31'"),
    }.get(ddl, ("'2026-07-01 10:00:00.123'", "'2026-07-01 10:00:00.122'"))
    desk = prepare(
        f"CREATE TABLE applicants (id INTEGER NOT NULL PRIMARY KEY, updated_at {ddl})",
        f"INSERT INTO applicants VALUES (1, {first}), (2, NULL)",
    )
    for way in range(len(desk.ways)):
        desk.execute(f"UPDATE applicants SET updated_at = {first} WHERE id = 1")
        desk.settle(way=way)
        assert desk.due() == []
        if ddl == "NUMERIC(30, 10)" and not desk.workspace.is_postgresql:
            continue  # SQLite itself holds both as one float
        desk.execute(f"UPDATE applicants SET updated_at = {second} WHERE id = 1")
        assert desk.due() == ["1"]


@pytest.mark.parametrize("changed", ["infinity", "-infinity", "0044-03-15 12:00:00 BC"])
@pytest.mark.parametrize("ddl", ["TIMESTAMP", "TIMESTAMPTZ", "DATE"])
def test_a_timestamp_that_python_cannot_hold_is_scored_once_too(
    prepare_postgresql: Prepare, changed: str, ddl: str
) -> None:
    desk = prepare_postgresql(
        f"CREATE TABLE applicants (id INTEGER PRIMARY KEY, updated_at {ddl})",
        f"INSERT INTO applicants VALUES (1, '{changed}'), (2, '2026-01-01')",
    )
    desk.settle(way=0)
    assert desk.count() == 0


@pytest.mark.parametrize("changed", ["infinity", "-infinity", "0044-03-15 12:00:00 BC"])
def test_a_timestamp_that_python_cannot_hold_is_scored_once_by_the_portable_way_too(
    prepare_postgresql: Prepare, changed: str
) -> None:
    desk = prepare_postgresql(
        "CREATE TABLE applicants (id INTEGER PRIMARY KEY, updated_at TIMESTAMP)",
        f"INSERT INTO applicants VALUES (1, '{changed}'), (2, '2026-01-01')",
    )
    desk.settle(way=1)
    assert desk.count() == 0


NOTES = (
    "CREATE TABLE applicants (id INTEGER NOT NULL PRIMARY KEY, note TEXT, score REAL, run_id INTEGER, valid_to TEXT)"
)
NOTED = (
    "INSERT INTO applicants VALUES (1, '100%', 0.9, 1, NULL), (2, 'a:b', 0.1, NULL, 'x'), (3, 'it''s', 0.5, 3, 'x'),"
    " (4, ':note %s %(id)s', NULL, 4, NULL)"
)


CONDITIONS = [
    ("note LIKE '100%'", ["1"]),
    ("note LIKE '%:b'", ["2"]),
    ("note = 'a:b' OR note = 'it''s'", ["2", "3"]),
    ("note = ':note %s %(id)s'", ["4"]),
    ("note <> ':note' AND id % 2 = 1", ["1", "3"]),
    ("score >= 0.5", ["1", "3"]),
    ("run_id IS NULL", ["2"]),
    ("valid_to = 'x' AND run_id > 0", ["3"]),
    ("CAST(id AS TEXT) || ':' = '3:'", ["3"]),
    ("id IN (SELECT max(id) FROM applicants)", ["4"]),
    ("note = '\\'", []),
]


def test_where_is_the_database_s_own_sql_and_sees_the_source_alone(prepare: Prepare) -> None:
    everything = prepare(NOTES, NOTED, changed_at=None)
    for where, expected in CONDITIONS:
        desk = dataclasses.replace(everything, source=dataclasses.replace(everything.source, where=where))

        assert desk.due() == expected, where
        with desk.database.read() as connection:
            assert desk.source.count(connection) == len(expected), where
    desk = dataclasses.replace(everything, source=dataclasses.replace(everything.source, where="note LIKE '%:b'"))
    desk.settle()
    assert desk.due() == []
    assert everything.due() == ["1", "3", "4"]


def test_where_takes_postgresql_casts(prepare_postgresql: Prepare) -> None:
    desk = prepare_postgresql(
        NOTES, NOTED, where="""id::text = '2' OR note ~ '^100' AND '{"a": 1}'::jsonb ->> 'a' = '1'""", changed_at=None
    )

    assert desk.due() == ["1", "2"]


def test_a_row_that_leaves_and_comes_back_into_where_is_not_scored_twice(prepare: Prepare) -> None:
    desk = prepare(APPLICANTS, THREE, where="income >= 200")
    assert desk.due() == ["2", "3"]
    desk.settle()

    desk.execute("UPDATE applicants SET income = 1")
    assert desk.due() == []
    desk.execute("UPDATE applicants SET income = 1000")
    assert desk.due() == ["1"]


@pytest.mark.parametrize("where", ["income > 0", "note LIKE '100%:x' OR income IS NULL"])
def test_a_condition_on_the_source_s_columns_is_accepted(prepare: Prepare, where: str) -> None:
    desk = prepare(
        "CREATE TABLE applicants (id INTEGER PRIMARY KEY, income INTEGER, note TEXT)", where=where, changed_at=None
    )

    desk.source.check_where(desk.database)


@pytest.mark.parametrize(
    "where", ["nothing = 1", "income >", "income > 0) OR (", "count(*) > 1", "income = 1; DELETE FROM applicants"]
)
def test_a_where_that_is_no_condition_is_a_fault_of_the_job(prepare: Prepare, where: str) -> None:
    desk = prepare(APPLICANTS, THREE)
    job = desk.workspace.write_job("loans", _job_text(where=where))

    with pytest.raises(SourceFault, match=r"\[source\] where is not a condition on the rows of applicants: "):
        _source(desk.database, job).check_where(desk.database)
    assert desk.workspace.scalar("SELECT count(*) FROM applicants") == 3


def test_a_missing_table_is_named_with_the_job_and_the_database_but_no_password(workspace: Workspace) -> None:
    job = workspace.write_job("loans", _job_text(table="nowhere"))
    with workspace.database() as database:
        upgrade.upgrade(database, [])

        with pytest.raises(
            SourceFault, match=r"job loans: there is no table or view nowhere in .*fix \[source\] table"
        ):
            _source(database, job)


def test_every_missing_column_is_named_at_once(workspace: Workspace) -> None:
    job = workspace.write_job("loans", _job_text(key=["id", "branch"], changed_at="moment"))
    with workspace.database() as database:
        _execute(database, APPLICANTS)

        with pytest.raises(SourceFault, match=r"no column branch, moment \(it has id, income, updated_at\)"):
            _source(database, job)


def test_a_source_in_another_schema_is_found_there(prepare_postgresql: Prepare) -> None:
    desk = prepare_postgresql(
        "CREATE SCHEMA staging",
        APPLICANTS.replace("applicants", "staging.applicants"),
        THREE.replace("applicants", "staging.applicants"),
        "CREATE TABLE applicants (id INTEGER PRIMARY KEY, updated_at TIMESTAMP)",
        table="staging.applicants",
    )

    assert desk.due() == ["1", "2", "3"]
    desk.settle()
    assert desk.due() == []


@pytest.mark.parametrize("where", [None, "income > 0"])
def test_a_key_that_is_not_unique_is_reported_with_its_columns_and_counts(prepare: Prepare, where: str | None) -> None:
    desk = prepare(
        "CREATE TABLE applicants (id TEXT NOT NULL, branch TEXT NOT NULL, income INTEGER, updated_at TIMESTAMP)",
        "INSERT INTO applicants (id, branch, income) VALUES ('secret-a', 'x', 1), ('secret-a', 'x', 1),"
        " ('secret-a', 'y', 1), ('secret-b', 'x', 1), ('secret-b', 'x', 1), ('secret-b', 'x', 1), ('secret-c', 'x', 1)",
        key=["id", "branch"],
        where=where,
    )

    with (
        desk.database.read() as connection,
        pytest.raises(SourceFault, match=r"\(id, branch\) is not unique: 2 keys occur in 5 rows") as found,
    ):
        desk.source.check_key(connection)
    assert "secret" not in str(found.value)


def test_a_key_that_is_null_is_reported_with_its_columns_and_count(prepare: Prepare) -> None:
    desk = prepare(
        "CREATE TABLE applicants (id TEXT, branch TEXT, updated_at TIMESTAMP)",
        "INSERT INTO applicants (id, branch) VALUES ('a', NULL), (NULL, 'b'), (NULL, NULL), ('c', 'd')",
        key=["id", "branch"],
    )

    with desk.database.read() as connection, pytest.raises(SourceFault, match=r"\(id, branch\) is NULL in 3 rows"):
        desk.source.check_key(connection)


def test_a_key_is_judged_among_the_rows_of_where_only(prepare: Prepare) -> None:
    desk = prepare(
        "CREATE TABLE applicants (id INTEGER, status TEXT, updated_at TIMESTAMP)",
        "INSERT INTO applicants (id, status) VALUES (1, 'open'), (1, 'draft'), (NULL, 'draft'), (2, 'open')",
        where="status = 'open'",
    )

    with desk.database.read() as connection:
        desk.source.check_key(connection)
    assert desk.due() == ["1", "2"]


def test_a_key_the_database_enforces_is_not_counted_and_others_are(prepare: Prepare) -> None:
    columns = "a INTEGER NOT NULL, b INTEGER NOT NULL, c INTEGER NOT NULL UNIQUE, d INTEGER UNIQUE, e INTEGER NOT NULL"
    desk = prepare(
        f"CREATE TABLE applicants ({columns}, updated_at TIMESTAMP, PRIMARY KEY (a, b))",
        "CREATE UNIQUE INDEX by_e ON applicants (e) WHERE a > 5",
        key=["b", "a"],
    )

    enforced = {}
    for key in (["b", "a"], ["c"], ["d"], ["e"], ["a"], ["a", "b", "c"]):
        job = desk.workspace.write_job("other", _job_text(key=key))
        enforced[tuple(key)] = _source(desk.database, job).key_is_enforced
    assert enforced[("b", "a")]
    assert enforced[("c",)]
    assert not enforced[("d",)]
    assert not enforced[("e",)]
    assert not enforced[("a",)]


def test_a_primary_key_that_sqlite_lets_be_null_is_checked(prepare_sqlite: Prepare) -> None:
    desk = prepare_sqlite(
        "CREATE TABLE applicants (id TEXT PRIMARY KEY, updated_at TIMESTAMP)",
        "INSERT INTO applicants (id) VALUES (NULL), ('a')",
    )

    with desk.database.read() as connection, pytest.raises(SourceFault, match=r"\(id\) is NULL in 1 row;"):
        desk.source.check_key(connection)


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

KEY_TYPES: dict[str, Sequence[Any]] = {
    "INTEGER": [-(2**31), -1, 0, 1, 2**31 - 1],
    "BIGINT": [-(2**63), -(2**53) - 1, 0, 2**53, 2**53 + 1, 2**53 + 2, 2**63 - 1],
    "TEXT": NASTY_TEXTS,
    "VARCHAR(500)": NASTY_TEXTS[:8],
    "DATE": ["1969-12-31", "2026-01-01", "0001-01-01", "9999-12-31"],
    "UUID": [
        "00000000-0000-0000-0000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "123e4567-e89b-12d3-a456-426614174000",
    ],
}
POSTGRESQL_KEY_TYPES: dict[str, Sequence[Any]] = {
    "SMALLINT": [-32768, 32767],
    "NUMERIC": ["1", "1.5", "-0.00000000000000000001", "123456789012345678901234567890.123456789"],
    "NUMERIC(20, 3)": ["12345678901234567.125", "0.001"],
    "CHAR(6)": ["a", "ab", "ab c"],
    "TIMESTAMP": ["2026-01-01 00:00:00.000001", "2026-01-01 00:00:00"],
    "TIMESTAMPTZ": ["2026-03-29 02:30:00.5+02", "2026-03-29 01:30:00.5+02"],
    "TIME": ["12:00:00.5", "23:59:59"],
    "BOOLEAN": [True, False],
    "BYTEA": ["\\x00ff", "\\x"],
    "INET": ["10.0.0.1", "::1"],
    'TEXT COLLATE "C"': NASTY_TEXTS[:8],
    'VARCHAR(500) COLLATE "pg_c_utf8"': NASTY_TEXTS[:8],
    'TEXT COLLATE "Odd name"': NASTY_TEXTS[:8],
    '"Grade"': ["low", "it's high", "%s"],
    '"Loan number"': ["L-2", "l-10", "L-1"],
    "staging.code": [2**53 + 1, 7],
}
TYPES_OF_ITS_OWN = (
    "CREATE SCHEMA staging",
    """CREATE TYPE "Grade" AS ENUM ('low', 'it''s high', '%s')""",
    """CREATE DOMAIN "Loan number" AS TEXT CHECK (VALUE ~ '^[Ll]-')""",
    "CREATE DOMAIN staging.code AS BIGINT",
    """CREATE COLLATION "Odd name" FROM "C" """,
)


@pytest.mark.parametrize("ddl", KEY_TYPES)
def test_keys_are_exact_whatever_their_type(prepare: Prepare, ddl: str) -> None:
    desk = prepare(f"CREATE TABLE applicants (id {ddl} NOT NULL PRIMARY KEY, updated_at TIMESTAMP)")
    _insert_keys(desk, [(value,) for value in KEY_TYPES[ddl]])

    _assert_each_key_is_scored_once_and_superseded_once(desk, len(KEY_TYPES[ddl]))
    assert _stored_keys(desk) == _source_keys(desk)


@pytest.mark.parametrize("ddl", POSTGRESQL_KEY_TYPES)
def test_keys_are_exact_whatever_their_type_on_postgresql(prepare_postgresql: Prepare, ddl: str) -> None:
    desk = prepare_postgresql(
        *TYPES_OF_ITS_OWN, f"CREATE TABLE applicants (id {ddl} NOT NULL PRIMARY KEY, updated_at TIMESTAMP)"
    )
    _insert_keys(desk, [(value,) for value in POSTGRESQL_KEY_TYPES[ddl]])

    _assert_each_key_is_scored_once_and_superseded_once(desk, len(POSTGRESQL_KEY_TYPES[ddl]))
    assert _stored_keys(desk) == _source_keys(desk)


SQLITE_KEY_TYPES: dict[str, Sequence[Any]] = {
    "NUMERIC(20, 3)": [110.5, 2**53 + 1, 7, "7.50 EUR"],
    "DECIMAL": [110.5, 2**53 + 1, 7, "7.50 EUR"],
    "BLOB": [b"\x00\xff", b"", b"7"],
    "": [b"7", "7", 7],
    "BOOLEAN": [0, 1],
    "TIMESTAMP": ["2026-01-01 00:00:00.5", "2026-01-01"],
}


@pytest.mark.parametrize("ddl", SQLITE_KEY_TYPES)
def test_keys_are_exact_whatever_their_type_on_sqlite(prepare_sqlite: Prepare, ddl: str) -> None:
    desk = prepare_sqlite(f"CREATE TABLE applicants (id {ddl} NOT NULL PRIMARY KEY, updated_at TIMESTAMP)")
    _insert_keys(desk, [(value,) for value in SQLITE_KEY_TYPES[ddl]])

    _assert_each_key_is_scored_once_and_superseded_once(desk, len(SQLITE_KEY_TYPES[ddl]))
    assert _stored_keys(desk) == _source_keys(desk)


@pytest.mark.parametrize("ddl", ["DATE", "TIMESTAMP"])
def test_keys_that_python_cannot_hold_are_scored_once_too(prepare_postgresql: Prepare, ddl: str) -> None:
    desk = prepare_postgresql(
        f"CREATE TABLE applicants (id {ddl} PRIMARY KEY, updated_at TIMESTAMP)",
        "INSERT INTO applicants VALUES ('infinity'), ('-infinity'), ('0044-03-15 BC'), ('2026-01-01')",
    )
    for chunk in desk.walk(1):
        desk.settle(desk.read(chunk))

    assert desk.workspace.scalar("SELECT count(*) FROM predictions_current") == 4
    assert desk.count() == 0


def test_composite_keys_of_mixed_types_are_exact(prepare: Prepare) -> None:
    desk = prepare(
        "CREATE TABLE applicants (branch TEXT NOT NULL, id BIGINT NOT NULL, day DATE NOT NULL, updated_at TIMESTAMP,"
        " PRIMARY KEY (day, id, branch))",
        key=["branch", "id", "day"],
    )
    keys = [
        (branch, id_, day)
        for branch in ("", "a\nb", "\\.", "Z")
        for id_ in (2**53, 2**53 + 1, -1)
        for day in ("2026-01-01", "2025-12-31")
    ]
    _insert_keys(desk, keys)

    _assert_each_key_is_scored_once_and_superseded_once(desk, len(keys))
    assert desk.keys() == []
    assert _stored_keys(desk) == _source_keys(desk)


def _insert_keys(desk: Desk, keys: Sequence[tuple[Any, ...]]) -> None:
    table = sa.table(desk.source.table.name, *(sa.column(name) for name in desk.source.key))
    values: dict[str, Any] = {name: sa.bindparam(f"v{i}") for i, name in enumerate(desk.source.key)}
    with desk.database.write() as connection:
        # one statement each: a driver may type a list of values after its first
        for key in keys:
            connection.execute(sa.insert(table).values(values), {f"v{i}": value for i, value in enumerate(key)})


def _assert_each_key_is_scored_once_and_superseded_once(desk: Desk, count: int) -> None:
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
    desk.execute(f"UPDATE {_quoted(name)} SET {_quoted(desk.source.changed_at)} = '{version}'")


def _source_keys(desk: Desk) -> Counter[tuple[Any, ...]]:
    return _selected(desk, _quoted(desk.source.table.name))


def _stored_keys(desk: Desk) -> Counter[tuple[Any, ...]]:
    return _selected(desk, "predictions_current")


def _selected(desk: Desk, table: str) -> Counter[tuple[Any, ...]]:
    columns = ", ".join(_quoted(name) for name in desk.source.key)
    with desk.database.read() as connection:
        rows = connection.exec_driver_sql(driver_sql(connection.dialect, f"SELECT {columns} FROM {table}"))
        return Counter(tuple(bytes(v) if isinstance(v, memoryview) else v for v in row) for row in rows)


def test_keys_that_differ_in_case_only_are_two_keys_even_where_sqlite_compares_without_case(
    prepare_sqlite: Prepare,
) -> None:
    desk = prepare_sqlite(
        "CREATE TABLE applicants (id TEXT COLLATE NOCASE NOT NULL, updated_at TIMESTAMP)",
        "INSERT INTO applicants (id) VALUES ('b'), ('B'), ('a'), ('C')",
    )
    with desk.database.read() as connection:
        desk.source.check_key(connection)

    _assert_each_key_is_scored_once_and_superseded_once(desk, 4)

    assert _stored_keys(desk) == Counter([("b",), ("B",), ("a",), ("C",)])


def test_a_key_that_changes_its_case_is_a_new_key(prepare_sqlite: Prepare) -> None:
    desk = prepare_sqlite(
        "CREATE TABLE applicants (id VARCHAR(9) COLLATE NOCASE NOT NULL PRIMARY KEY, updated_at TIMESTAMP)",
        "INSERT INTO applicants (id) VALUES ('b'), ('A')",
    )
    desk.settle()

    desk.execute("UPDATE applicants SET id = 'B' WHERE id = 'b'")

    assert desk.due() == ["B"]


def test_keys_that_sqlite_pads_or_trims_in_comparison_stay_apart(prepare_sqlite: Prepare) -> None:
    desk = prepare_sqlite(
        "CREATE TABLE applicants (id TEXT COLLATE RTRIM NOT NULL, updated_at TIMESTAMP)",
        "INSERT INTO applicants (id) VALUES ('b'), ('b '), ('b  ')",
    )

    _assert_each_key_is_scored_once_and_superseded_once(desk, 3)


def test_a_key_that_is_no_utf_8_is_a_fault_of_the_job_that_names_no_value(prepare_sqlite: Prepare) -> None:
    desk = prepare_sqlite(
        "CREATE TABLE applicants (id TEXT NOT NULL PRIMARY KEY, updated_at TIMESTAMP)",
        "INSERT INTO applicants (id) VALUES ('a'), ('b'), (CAST(x'733363723374ff' AS TEXT))",
    )

    with pytest.raises(DatabaseFault, match="a key is not valid UTF-8; correct it") as named:
        desk.walk(1)
    assert "s3cr3t" not in str(named.value)

    left_out = dataclasses.replace(desk, source=dataclasses.replace(desk.source, where="length(id) = 1"))
    left_out.settle()
    assert left_out.count() == 0


def test_a_text_key_of_digits_stays_text(prepare: Prepare) -> None:
    desk = prepare(
        "CREATE TABLE applicants (id VARCHAR(20) NOT NULL PRIMARY KEY, updated_at TIMESTAMP)",
        "INSERT INTO applicants (id) VALUES ('007'), ('7'), ('7.0'), ('1e5'), ('-0')",
    )
    desk.settle()

    assert _stored_keys(desk) == Counter([("007",), ("7",), ("7.0",), ("1e5",), ("-0",)])


@pytest.mark.parametrize("keys", [[1, 2**53 + 1, 10, 9], ["b", "B", "10", "9", "a\nb"]])
def test_a_view_is_a_source_like_a_table(prepare: Prepare, keys: list[Any]) -> None:
    ddl = "TEXT" if isinstance(keys[0], str) else "BIGINT"
    desk = prepare(
        f"CREATE TABLE raw_applicants (number {ddl} NOT NULL PRIMARY KEY, updated_at TIMESTAMP, income INTEGER)",
        "CREATE VIEW applicants AS SELECT number AS id, updated_at, income * 2 AS income FROM raw_applicants",
        table="applicants",
    )
    table = sa.table("raw_applicants", sa.column("number"))
    with desk.database.write() as connection:
        connection.execute(sa.insert(table), [{"number": key} for key in keys])

    assert desk.due() == sorted(str(key) for key in keys)
    read = [_keys(desk.read(chunk)) for chunk in desk.walk(1)]
    assert sorted(key for chunk in read for (key,) in chunk) == desk.due()
    desk.settle()
    assert desk.due() == []
    desk.execute("UPDATE raw_applicants SET updated_at = '2026-01-01 00:00:00'")
    assert desk.settle().superseded == len(keys)
    assert desk.due() == []


def test_a_view_whose_key_doubles_rows_is_reported(prepare: Prepare) -> None:
    desk = prepare(
        APPLICANTS.replace("applicants", "raw_applicants"),
        THREE.replace("applicants", "raw_applicants"),
        "CREATE VIEW applicants AS SELECT a.id, a.updated_at FROM raw_applicants a JOIN raw_applicants b"
        " ON b.id <= a.id",
    )

    with desk.database.read() as connection, pytest.raises(SourceFault, match="2 keys occur in 5 rows"):
        desk.source.check_key(connection)


def test_a_materialized_view_is_a_source(prepare_postgresql: Prepare) -> None:
    desk = prepare_postgresql(
        APPLICANTS.replace("applicants", "raw_applicants"),
        THREE.replace("applicants", "raw_applicants"),
        "CREATE MATERIALIZED VIEW applicants AS SELECT * FROM raw_applicants",
    )
    desk.settle()

    assert desk.due() == []


AWKWARD_NAMES = [
    "Loan ID",
    'say "hi"',
    "100% sure",
    "a:b",
    ":param",
    "%(k0)s",
    "select",
    "k0",
    "v0",
    "f0",
    "current_prediction",
    "source",
    "größe",
    "back\\slash",
    "it's",
    "[brackets]",
    "$dollar",
]


@pytest.mark.parametrize("name", AWKWARD_NAMES)
def test_any_name_the_database_takes_serves_as_key_version_and_feature(prepare: Prepare, name: str) -> None:
    changed_at, feature = f"{name} 2", f"{name} 3"
    desk = prepare(
        f"CREATE TABLE applicants ({_quoted(name)} INTEGER, {_quoted(changed_at)} TIMESTAMP, {_quoted(feature)} TEXT)",
        "INSERT INTO applicants VALUES (1, '2026-01-01 00:00:00', 'x'), (2, NULL, NULL)",
        key=[name],
        changed_at=changed_at,
    )
    with desk.database.read() as connection:
        desk.source.check_key(connection)
    for way in range(len(desk.ways)):
        desk.execute(f"UPDATE applicants SET {_quoted(changed_at)} = '2026-02-0{way + 1} 00:00:00'")
        assert desk.count() == 2
        for chunk, (key, text) in zip(desk.walk(1, way=way), [(1, "x"), (2, None)], strict=True):
            rows = desk.read(chunk, features=[name, feature], way=way)
            assert _keys(rows) == [(str(key),)]
            assert [_plain(value) for value in rows.features[name]] == [key]
            assert [_plain(value) for value in rows.features[feature]] == [text]
            assert desk.settle(rows, way=way).superseded == min(1, way)
        desk.execute(f"UPDATE applicants SET {_quoted(changed_at)} = NULL")
        assert desk.settle(way=way).superseded == 2
        assert desk.due() == []


@pytest.mark.parametrize("table", ["Loan Applicants", "100% applicants", 'say "hi"', "select", "a:b"])
def test_a_source_may_have_any_name(prepare: Prepare, table: str) -> None:
    desk = prepare(
        f"CREATE TABLE {_quoted(table)} (id INTEGER NOT NULL PRIMARY KEY, updated_at TIMESTAMP)",
        f"INSERT INTO {_quoted(table)} VALUES (1, NULL)",
        table=table,
    )
    assert desk.due() == ["1"]
    desk.settle()
    assert desk.due() == []


def test_the_key_and_the_version_may_be_features_too(prepare: Prepare) -> None:
    desk = prepare(APPLICANTS, THREE)

    for way in range(len(desk.ways)):
        rows = desk.read(features=["id", "updated_at", "income"], way=way)

        assert [_plain(value) for value in rows.features["id"]] == [1, 2, 3]
        assert [_plain(value) for value in rows.features["income"]] == [100, 200, 300]
        assert [_plain(value) is None for value in rows.features["updated_at"]] == [False, False, True]


def test_features_named_like_outcome_columns_are_the_source_s(prepare: Prepare) -> None:
    names = ["run_id", "score", "valid_from", "valid_to", "attempts", "source_changed_at", "current_since"]
    desk = prepare(
        f"CREATE TABLE applicants (id INTEGER NOT NULL PRIMARY KEY, {', '.join(f'{name} INTEGER' for name in names)})",
        f"INSERT INTO applicants VALUES (1, {', '.join(str(i) for i in range(len(names)))})",
        changed_at=None,
    )

    for way in range(len(desk.ways)):
        rows = desk.read(features=names, way=way)

        assert {name: _plain(rows.features[name][0]) for name in names} == {name: i for i, name in enumerate(names)}
        assert list(rows.current_since) == [None]


def _cover(desk: Desk, ranges: Sequence[KeyRange]) -> list[list[Key]]:
    """The keys of each chunk; a chunk is a set of rows, its rows come in no promised order."""
    return [sorted(_keys(desk.read(chunk))) for chunk in ranges]


def test_nothing_due_is_no_chunk(prepare: Prepare) -> None:
    desk = prepare(APPLICANTS)

    assert desk.count() == 0
    assert desk.walk(10) == []
    assert len(desk.read()) == 0


def test_chunks_of_every_size_cover_each_due_row_once_and_in_order(prepare: Prepare) -> None:
    desk = prepare(
        "CREATE TABLE applicants (branch TEXT NOT NULL, id INTEGER NOT NULL, updated_at TIMESTAMP,"
        " PRIMARY KEY (id, branch))",
        key=["branch", "id"],
    )
    keys = [(branch, id_) for id_ in range(5) for branch in ("b", "a", "", "B")]
    _insert_keys(desk, keys)
    desk.settle(_first(desk, 3))
    due = desk.keys()
    assert len(due) == 17

    for chunk_rows in (1, 2, 5, 16, 17, 18):
        chunks = _cover(desk, desk.walk(chunk_rows))
        assert all(len(chunk) <= chunk_rows for chunk in chunks)
        assert sorted(key for chunk in chunks for key in chunk) == due


def _first(desk: Desk, count: int) -> SourceRows:
    return desk.read(desk.walk(count)[0])


@settings(
    deadline=None,
    max_examples=15,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    keys=st.sets(
        st.tuples(
            st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=3),
            st.integers(-(2**63), 2**63 - 1),
        ),
        max_size=12,
    ),
    chunk_rows=st.integers(1, 13),
)
def _check_cover(desk: Desk, keys: set[tuple[str, int]], chunk_rows: int) -> None:
    desk.execute("DELETE FROM applicants")
    _insert_keys(desk, list(keys))

    assert desk.count() == len(keys)
    chunks = _cover(desk, desk.walk(chunk_rows))
    assert Counter(key for chunk in chunks for key in chunk) == Counter((text, str(id_)) for text, id_ in keys)
    assert all(len(chunk) <= chunk_rows for chunk in chunks)


def test_chunks_cover_any_keys_once(prepare: Prepare) -> None:
    desk = prepare(
        "CREATE TABLE applicants (branch TEXT NOT NULL, id BIGINT NOT NULL, updated_at TIMESTAMP)", key=["branch", "id"]
    )

    _check_cover(desk)


def test_a_row_inserted_behind_the_walk_waits_and_one_before_it_is_read(prepare: Prepare) -> None:
    desk = prepare(APPLICANTS, "INSERT INTO applicants (id) VALUES (10), (20), (30), (40)")
    first = desk.step(desk.start(), 2)
    assert _keys(first.rows) == [("10",), ("20",)]
    desk.settle(first.rows)

    desk.execute("INSERT INTO applicants (id) VALUES (5), (15), (25), (45)")
    walked, walk = [], first.rest
    while walk is not None:
        chunk = desk.step(walk, 2)
        walked += _keys(chunk.rows)
        desk.settle(chunk.rows)
        walk = chunk.rest

    assert walked == [("25",), ("30",), ("40",), ("45",)]
    assert desk.due() == ["15", "5"]


def test_rows_that_are_due_no_more_when_their_chunk_is_read_are_not_read(prepare: Prepare) -> None:
    desk = prepare(APPLICANTS, "INSERT INTO applicants (id) VALUES (10), (20), (30), (40)")
    ranges = desk.walk(2)
    desk.settle(desk.read(KeyRange(lower=(10,), upper=(30,))))
    desk.execute("DELETE FROM applicants WHERE id = 40")

    assert _cover(desk, ranges) == [[("10",)], []]


def test_a_walk_through_few_due_rows_takes_wide_steps_and_misses_none(prepare: Prepare) -> None:
    desk = prepare(APPLICANTS)
    with desk.database.write() as connection:
        rows = [{"id": i} for i in range(2_000)]
        connection.execute(sa.text("INSERT INTO applicants (id) VALUES (:id)"), rows)
    desk.settle()
    desk.execute("UPDATE applicants SET updated_at = '2026-02-02 00:00:00' WHERE id % 97 = 0 OR id BETWEEN 900 AND 960")
    changed = sorted(str(i) for i in range(2_000) if i % 97 == 0 or 900 <= i <= 960)

    for chunk_rows in (1, 5, 10, 60):
        for due_count in (None, len(changed)):
            walk: KeysetReader | None = desk.start(due_count=due_count)
            found, steps = [], 0
            while walk is not None:
                chunk = desk.step(walk, chunk_rows)
                assert len(chunk.rows) <= chunk_rows
                found += [key for (key,) in _keys(chunk.rows)]
                steps += 1
                walk = chunk.rest
            assert sorted(found) == changed
            assert steps < 2_000 / chunk_rows


def test_a_step_can_be_taken_again(prepare: Prepare) -> None:
    desk = prepare(APPLICANTS, "INSERT INTO applicants (id) VALUES (1), (2), (3)")
    walk = desk.start()

    for _ in range(2):
        assert _keys(desk.step(walk, 2).rows) == [("1",), ("2",)]
    rest = desk.step(walk, 2).rest
    assert rest is not None
    for _ in range(2):
        assert _keys(desk.step(rest, 2).rows) == [("3",)]


@pytest.mark.parametrize("widths", [[], [20], [7, 5, 3], [1] * 30, [19, 1, 1]])
def test_a_source_is_cut_into_ranges_that_cover_it_once(prepare: Prepare, widths: list[int]) -> None:
    desk = prepare(
        "CREATE TABLE applicants (branch TEXT NOT NULL, id BIGINT NOT NULL, updated_at TIMESTAMP,"
        " PRIMARY KEY (id, branch))",
        key=["branch", "id"],
    )
    keys = [(branch, id_) for id_ in range(5) for branch in ("b", "a", "", "B")]
    _insert_keys(desk, keys)

    with desk.database.read() as connection:
        ranges = desk.query.partition(connection, widths)
    held = _cover(desk, ranges)

    assert sorted(key for keys in held for key in keys) == sorted((branch, str(id_)) for branch, id_ in keys)
    assert all(len(keys) == width for keys, width in zip(held[:-1], widths, strict=False))
    assert (ranges[0].lower, ranges[-1].upper) == (None, None), "rows that come later are in a range too"


def test_an_empty_source_is_one_range(prepare: Prepare) -> None:
    desk = prepare(APPLICANTS)
    with desk.database.read() as connection:
        assert desk.query.partition(connection, [4]) == [EVERYTHING]


def test_a_read_takes_no_more_rows_than_its_limit_and_the_rest_later(prepare: Prepare) -> None:
    desk = prepare(APPLICANTS, "INSERT INTO applicants (id) VALUES (1), (2), (3), (4), (5)")

    read = []
    while rows := desk.read(limit=2):
        read.append(_keys(rows))
        desk.settle(rows)

    assert [len(keys) for keys in read] == [2, 2, 1]
    assert sorted(key for keys in read for (key,) in keys) == ["1", "2", "3", "4", "5"]


def test_ranges_are_open_below_and_closed_above(prepare: Prepare) -> None:
    desk = prepare(APPLICANTS, "INSERT INTO applicants (id) VALUES (1), (2), (3), (4)")

    assert desk.keys(KeyRange(lower=(1,), upper=(3,))) == [("2",), ("3",)]
    assert desk.keys(KeyRange(lower=(3,))) == [("4",)]
    assert desk.keys(KeyRange(upper=(1,))) == [("1",)]
