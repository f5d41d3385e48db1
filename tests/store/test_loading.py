"""``load``: a CSV file becomes rows of a table, all or none, and only what differs is touched."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from support import Workspace

from batch_scoring.errors import BatchScoringError, InputFault
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.names import driver_sql
from batch_scoring.store.engine.sql_types import UtcTimestamp
from batch_scoring.store.source.loading import Loaded, load_csv

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class Desk:
    """A database, and a file to be loaded into it."""

    database: Database
    file: Path

    def load(self, text: str | bytes, *key: str, table: str = "applicants", changed_at: str = "updated_at") -> Loaded:
        self.file.write_bytes(text.encode() if isinstance(text, str) else text)
        return load_csv(self.database, table, self.file, key=key or ("id",), changed_at=changed_at)

    def execute(self, statement: str) -> None:
        with self.database.write(create=True) as connection:
            connection.exec_driver_sql(driver_sql(connection.dialect, statement))

    def rows(self, *columns: str, table: str = "applicants", schema: str | None = None) -> list[tuple[Any, ...]]:
        """Rows as the driver gives them, in the order of the first column."""
        selected = sa.table(table, *(sa.column(name) for name in columns), schema=schema)
        with self.database.read() as connection:
            query = sa.select(*selected.c).order_by(selected.c[columns[0]])
            return [tuple(row) for row in connection.execute(query)]

    def changed(self, table: str = "applicants", changed_at: str = "updated_at") -> dict[Any, datetime]:
        """When each row last changed."""
        selected = sa.table(table, sa.column("id"), sa.column(changed_at, UtcTimestamp))
        with self.database.read() as connection:
            return {row[0]: row[1] for row in connection.execute(sa.select(*selected.c))}

    def age(self) -> None:
        """As if every row had been loaded long ago."""
        selected = sa.table("applicants", sa.column("updated_at", UtcTimestamp))
        with self.database.write() as connection:
            connection.execute(sa.update(selected).values(updated_at=LONG_AGO))

    def types(self, table: str = "applicants", schema: str | None = None) -> dict[str, str]:
        with self.database.read() as connection:
            columns = sa.inspect(connection).get_columns(table, schema=schema)
            return {column["name"]: column["type"].compile(dialect=connection.dialect) for column in columns}

    def tables(self) -> list[str]:
        with self.database.write(create=True) as connection:
            return sa.inspect(connection).get_table_names()


@pytest.fixture
def desk(workspace: Workspace) -> Iterator[Desk]:
    with workspace.database() as database:
        yield Desk(database=database, file=workspace.folder / "applicants.csv")


@pytest.fixture
def postgresql_desk(postgresql_workspace: Workspace) -> Iterator[Desk]:
    with postgresql_workspace.database() as database:
        yield Desk(database=database, file=postgresql_workspace.folder / "applicants.csv")


def test_a_table_that_is_absent_is_made_with_the_types_all_values_have(desk: Desk) -> None:
    loaded = desk.load(
        "id,code,amount,ratio,flag,day,mixed,nothing\n"
        "1,007,100,0.5,true,2026-01-31,1,\n"
        "2,7,-2.50,1e-3,false,0001-01-01,x,\n"
        "3,,,,,,,\n"
    )

    assert loaded == Loaded(table="applicants", read=3, inserted=3, updated=0, created=True)
    assert loaded.unchanged == 0
    types = desk.types()
    assert (types["id"], types["code"], types["mixed"], types["nothing"]) == ("BIGINT", "TEXT", "TEXT", "TEXT")
    assert types["amount"].startswith("NUMERIC")
    assert types["ratio"].startswith("NUMERIC")
    assert (types["flag"], types["day"]) == ("BOOLEAN", "DATE")
    with desk.database.read() as connection:
        inspector = sa.inspect(connection)
        assert inspector.get_pk_constraint("applicants")["constrained_columns"] == ["id"]
        nullable = {column["name"]: column["nullable"] for column in inspector.get_columns("applicants")}
    assert not nullable.pop("id")
    assert not nullable.pop("updated_at")
    assert all(nullable.values())


def test_values_are_stored_as_what_they_are(desk: Desk) -> None:
    desk.load("id,code,amount,flag,day\n9007199254740993,007,-2.50,true,2026-01-31\n2,,0.1,False,\n")

    (second, first) = desk.rows("id", "code", "amount", "flag", "day")
    if desk.database.dialect.enforces_types:
        assert first == (9007199254740993, "007", Decimal("-2.50"), True, date(2026, 1, 31))
        assert second == (2, None, Decimal("0.1"), False, None)
    else:
        assert first == (9007199254740993, "007", -2.5, 1, "2026-01-31")
        assert second == (2, None, 0.1, 0, None)


def test_new_rows_carry_the_database_s_time_of_the_load(desk: Desk) -> None:
    with desk.database.write(create=True) as connection:
        from batch_scoring.store.engine.clock import now

        before = now(connection)
    desk.load("id,income\n1,100\n2,200\n")
    with desk.database.read() as connection:
        after = now(connection)

    assert all(before <= moment <= after for moment in desk.changed().values())


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["007", "8"], "TEXT"),
        (["00", "1"], "TEXT"),
        (["+1", "2"], "TEXT"),
        (["1,5", "2"], "TEXT"),
        (["1", "2.5"], "TEXT"),
        (["LP001", "7"], "TEXT"),
        (["-1", "0"], "BIGINT"),
        (["999999999999999999", "1"], "BIGINT"),
        (["9999999999999999999", "1"], "TEXT"),
    ],
)
def test_keys_are_whole_numbers_or_the_text_that_stands_there(desk: Desk, values: list[str], expected: str) -> None:
    desk.load("id,income\n" + "".join(f'"{value}",1\n' for value in values))

    assert desk.types()["id"] == expected
    assert sorted(str(key) for (key,) in desk.rows("id")) == sorted(values)


def test_keys_of_dates_stay_dates(desk: Desk) -> None:
    desk.load("day,income\n2026-01-01,1\n2025-12-31,2\n", "day")

    assert desk.types()["day"] == "DATE"
    assert [str(day) for (day,) in desk.rows("day")] == ["2025-12-31", "2026-01-01"]


def test_decimals_that_come_later_fit_where_whole_numbers_came_first(desk: Desk) -> None:
    desk.load("id,income\n1,100\n")

    desk.load("id,income\n1,100.25\n2,0.5\n")

    assert [(id_, float(income)) for id_, income in desk.rows("id", "income")] == [(1, 100.25), (2, 0.5)]


def test_an_empty_field_is_null_and_words_for_nothing_are_text(desk: Desk) -> None:
    desk.load('id,note\n1,\n2,""\n3,NULL\n4,NA\n5,nan\n6,"None"\n7," "\n8,\\N\n')

    assert desk.rows("id", "note") == [
        (1, None),
        (2, None),
        (3, "NULL"),
        (4, "NA"),
        (5, "nan"),
        (6, "None"),
        (7, " "),
        (8, "\\N"),
    ]


def test_quotes_newlines_and_everything_else_of_a_text_arrive(desk: Desk) -> None:
    texts = [
        'say "hi"',
        "line\nbreak",
        "carriage\r\nreturn",
        "a,b",
        "it's",
        "\\.",
        "ä日本😀",
        "tab\there",
        "100%",
        ":x",
    ]
    lines = "".join('"{}","{}"\n'.format(i, text.replace('"', '""')) for i, text in enumerate(texts))

    desk.load('"id","note"\n' + lines)

    assert desk.rows("id", "note") == list(enumerate(texts))


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_files_of_spreadsheets_are_read_with_their_line_ends_and_byte_order_mark(
    desk: Desk, newline: str, mark: str
) -> None:
    desk.load(mark + newline.join(["id,note", "1,a", "2,b", ""]))

    assert desk.rows("id", "note") == [(1, "a"), (2, "b")]


def test_a_file_without_a_line_end_at_its_end_is_read_to_the_end(desk: Desk) -> None:
    assert desk.load("id,note\n1,a\n2,b").inserted == 2


def test_a_file_of_keys_alone_is_loaded(desk: Desk) -> None:
    assert desk.load("id\n1\n2\n").inserted == 2
    again = desk.load("id\n2\n3\n")

    assert (again.inserted, again.updated, again.unchanged) == (1, 0, 1)


def test_the_same_file_again_touches_nothing(desk: Desk) -> None:
    text = "id,name,amount,flag,day\n1,a,1.50,true,2026-01-01\n2,,,,\n3,c,1e2,false,2026-01-02\n"
    desk.load(text)
    desk.age()

    again = desk.load(text)

    assert again == Loaded(table="applicants", read=3, inserted=0, updated=0, created=False)
    assert again.unchanged == 3
    assert set(desk.changed().values()) == {LONG_AGO}


def test_rows_that_differ_are_updated_and_only_they_get_a_new_time(desk: Desk) -> None:
    desk.load("id,name,amount\n1,a,1\n2,b,2\n3,c,3\n4,d,\n5,,5\n6,f,6\n")
    desk.age()

    again = desk.load("id,name,amount\n1,a,1\n2,B,2\n3,c,\n4,d,4\n5,e,5\n7,g,7\n")

    assert (again.read, again.inserted, again.updated, again.unchanged) == (6, 1, 4, 1)
    changed = desk.changed()
    assert {id_ for id_, moment in changed.items() if moment == LONG_AGO} == {1, 6}
    assert all(moment > LONG_AGO for id_, moment in changed.items() if id_ in (2, 3, 4, 5, 7))
    found = [
        (id_, name, None if amount is None else float(amount))
        for id_, name, amount in desk.rows("id", "name", "amount")
    ]
    assert found == [(1, "a", 1), (2, "B", 2), (3, "c", None), (4, "d", 4), (5, "e", 5), (6, "f", 6), (7, "g", 7)]


@pytest.mark.parametrize(("stored", "loaded"), [("110", "110.0"), ("110.50", "110.5"), ("1e2", "100"), ("0", "-0")])
def test_the_same_number_in_other_digits_is_no_difference(desk: Desk, stored: str, loaded: str) -> None:
    desk.load(f"id,amount\n1,{stored}\n")
    desk.age()

    assert desk.load(f"id,amount\n1,{loaded}\n").unchanged == 1
    assert desk.changed() == {1: LONG_AGO}


def test_texts_that_differ_in_case_or_spaces_differ(desk: Desk) -> None:
    desk.load("id,name\n1,a\n2,b\n")

    assert desk.load('id,name\n1,A\n2,"b "\n').updated == 2


def test_columns_that_the_file_lacks_keep_what_they_hold(desk: Desk) -> None:
    desk.load("id,name,amount\n1,a,1\n")

    again = desk.load("id,name\n1,b\n2,c\n")

    assert (again.updated, again.inserted) == (1, 1)
    found = [
        (id_, name, None if amount is None else float(amount))
        for id_, name, amount in desk.rows("id", "name", "amount")
    ]
    assert found == [(1, "b", 1), (2, "c", None)]


def test_columns_may_come_in_another_order(desk: Desk) -> None:
    desk.load("id,name,note\n1,a,x\n")

    assert desk.load("note,id,name\nx,1,a\n").unchanged == 1


TYPES = {
    "small": ("INTEGER", "110.0", "110"),
    "big": ("BIGINT", "9007199254740993", "9007199254740993"),
    "exact": ("NUMERIC(12, 2)", "1.5", "1.50"),
    "number": ("DOUBLE PRECISION", "0.1", "0.1"),
    "flag": ("BOOLEAN", "true", "True"),
    "day": ("DATE", "2026-01-31", "2026-01-31"),
    "moment": ("TIMESTAMP", "2026-01-31 10:00:00.5", "2026-01-31 10:00:00.500000"),
    "text": ("TEXT", "007", "007"),
    "code": ("VARCHAR(5)", "ab cd", "ab cd"),
}


def test_values_take_the_types_of_the_table_and_come_back_unchanged(desk: Desk) -> None:
    desk.execute(
        "CREATE TABLE applicants (id BIGINT PRIMARY KEY, updated_at TIMESTAMP, "
        + ", ".join(f"{name} {ddl}" for name, (ddl, _, _) in TYPES.items())
        + ")"
    )
    text = f"id,{','.join(TYPES)}\n1,{','.join(value for _, value, _ in TYPES.values())}\n2{',' * len(TYPES)}\n"

    assert desk.load(text).inserted == 2
    assert desk.load(text).unchanged == 2

    (first, second) = desk.rows("id", *TYPES)
    if desk.database.dialect.enforces_types:
        assert [str(value) for value in first[1:]] == [expected for _, _, expected in TYPES.values()]
    else:
        moment = "2026-01-31 10:00:00.5"
        assert first[1:] == (110, 9007199254740993, 1.5, 0.1, 1, "2026-01-31", moment, "007", "ab cd")
    assert second[1:] == (None,) * len(TYPES)


@pytest.mark.parametrize("is_key", [True, False])
def test_whole_numbers_stay_exact_beside_one_written_as_a_decimal(desk: Desk, is_key: bool) -> None:
    desk.execute("CREATE TABLE applicants (id BIGINT PRIMARY KEY, big BIGINT, updated_at TIMESTAMP)")
    numbers = ["110.0", "9007199254740993", "-9007199254740995", "9223372036854775807"]
    lines = [f"{number},1" if is_key else f"{i},{number}" for i, number in enumerate(numbers)]

    desk.load("\n".join(["id,big", *lines]))

    stored = sorted(value for (value,) in desk.rows("id" if is_key else "big"))
    assert stored == [-9007199254740995, 110, 9007199254740993, 9223372036854775807]


@pytest.mark.parametrize(
    ("ddl", "bad"),
    [
        ("INTEGER", "abc"),
        ("BIGINT", "1.5"),
        ("BIGINT", "99999999999999999999"),
        ("NUMERIC", "12,50"),
        ("DOUBLE PRECISION", "abc"),
        ("BOOLEAN", "maybe"),
    ],
)
def test_a_value_that_is_not_of_the_column_s_type_is_refused_with_the_whole_file(
    desk: Desk, ddl: str, bad: str
) -> None:
    desk.execute(f"CREATE TABLE applicants (id INTEGER PRIMARY KEY, amount {ddl}, note TEXT, updated_at TIMESTAMP)")
    desk.execute("INSERT INTO applicants (id, note) VALUES (1, 'before')")

    with pytest.raises(
        InputFault, match=r"applicants\.csv, line 3, column amount: a .*|text where .*; nothing was loaded"
    ) as refused:
        desk.load(f'id,amount,note\n1,1,after\n2,"{bad}",after\n3,1,after\n')

    assert bad not in str(refused.value)
    assert desk.rows("id", "amount", "note") == [(1, None, "before")]


@pytest.mark.parametrize(
    ("ddl", "bad"), [("DATE", "secret-1"), ("VARCHAR(3)", "secret-2"), ("TIMESTAMP", "secret-3"), ("UUID", "secret-4")]
)
def test_a_value_that_postgresql_refuses_is_refused_with_the_whole_file(
    postgresql_desk: Desk, ddl: str, bad: str
) -> None:
    desk = postgresql_desk
    desk.execute(f"CREATE TABLE applicants (id INTEGER PRIMARY KEY, amount {ddl}, note TEXT, updated_at TIMESTAMP)")
    desk.execute("INSERT INTO applicants (id, note) VALUES (1, 'before')")

    with pytest.raises(BatchScoringError) as refused:
        desk.load(f"id,amount,note\n1,,after\n2,{bad},after\n")

    assert "secret" not in str(refused.value)
    assert desk.rows("id", "amount", "note") == [(1, None, "before")]


def test_a_constraint_of_the_table_rolls_the_whole_file_back(desk: Desk) -> None:
    desk.execute(
        "CREATE TABLE applicants (id INTEGER PRIMARY KEY, amount INTEGER CHECK (amount > 0), updated_at TIMESTAMP)"
    )
    desk.load("id,amount\n1,1\n")

    with pytest.raises(InputFault, match=r"line 4: check constraint .* does not allow it"):
        desk.load("id,amount\n1,7\n2,2\n3,-3\n")

    assert desk.rows("id", "amount") == [(1, 1)]


def test_a_value_that_is_too_large_for_sqlite_is_named_by_its_line(tmp_path: Path) -> None:
    desk = Desk(database=Database(f"sqlite:///{tmp_path}/test.db"), file=tmp_path / "rows.csv")

    @sa.event.listens_for(desk.database.engine, "connect")
    def limit(connection: Any, _record: Any) -> None:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10_000)

    with pytest.raises(InputFault, match=r"rows\.csv, line 3: a value or row is larger than SQLite stores"):
        desk.load(f"id,a\n1,x\n2,{'x' * 20_000}\n3,y\n")


def test_a_first_load_that_fails_leaves_no_table(postgresql_desk: Desk) -> None:
    with pytest.raises(InputFault, match="line 3: a NUL character"):
        postgresql_desk.load(b"id,note\n1,a\n2,b\0c\n")

    assert postgresql_desk.tables() == []


def test_a_table_with_a_unique_constraint_on_the_key_is_loaded(desk: Desk) -> None:
    desk.execute(
        "CREATE TABLE applicants (number INTEGER PRIMARY KEY, id TEXT UNIQUE, note TEXT, updated_at TIMESTAMP)"
    )

    assert desk.load("number,id,note\n1,a,x\n2,b,y\n").inserted == 2
    assert desk.load("number,id,note\n1,a,z\n").updated == 1


def test_a_key_that_no_constraint_holds_is_refused(desk: Desk) -> None:
    desk.execute("CREATE TABLE applicants (id INTEGER, branch INTEGER, updated_at TIMESTAMP, PRIMARY KEY (id, branch))")

    with pytest.raises(
        InputFault, match=r"no primary key or unique constraint of applicants is on \(id\); correct --key"
    ):
        desk.load("id,branch\n1,1\n")

    assert desk.load("id,branch\n1,1\n", "branch", "id").inserted == 1


def test_columns_the_table_lacks_are_all_named(desk: Desk) -> None:
    desk.load("id,name\n1,a\n")

    with pytest.raises(InputFault, match=r"applicants has no column height, weight \(it has id, name, updated_at\)"):
        desk.load("id,height,name,weight\n1,1,a,1\n")


def test_a_table_without_the_column_for_the_time_of_change_is_named_with_the_option(desk: Desk) -> None:
    desk.execute("CREATE TABLE applicants (id INTEGER PRIMARY KEY, name TEXT)")

    with pytest.raises(InputFault, match=r"applicants has no column updated_at .*--changed-at"):
        desk.load("id,name\n1,a\n")


def test_a_composite_key_tells_rows_apart(desk: Desk) -> None:
    desk.load("branch,id,name\nx,1,a\nx,2,b\ny,1,c\n", "branch", "id")

    again = desk.load("branch,id,name\nx,1,a\ny,1,C\ny,2,d\n", "branch", "id")

    assert (again.inserted, again.updated, again.unchanged) == (1, 1, 1)
    assert sorted(desk.rows("branch", "id", "name")) == [
        ("x", 1, "a"),
        ("x", 2, "b"),
        ("y", 1, "C"),
        ("y", 2, "d"),
    ]


def test_keys_that_repeat_are_refused_with_their_count(desk: Desk) -> None:
    with pytest.raises(
        InputFault,
        match=r"the key \(id\) is not unique: 2 keys in 4 rows, and line 3 repeats line 2; nothing was loaded",
    ) as refused:
        desk.load("id,name\nsecret,a\nsecret,b\nother,c\nsecret,d\n")

    assert "secret" not in str(refused.value)
    assert desk.tables() == []


def test_keys_that_are_equal_only_as_numbers_are_refused_too(desk: Desk) -> None:
    desk.execute("CREATE TABLE applicants (id BIGINT PRIMARY KEY, name TEXT, updated_at TIMESTAMP)")
    desk.load("id,name\n110,before\n")

    with pytest.raises(BatchScoringError):
        desk.load("id,name\n110,a\n110.0,b\n")

    assert desk.rows("id", "name") == [(110, "before")]


def test_keys_that_are_empty_are_refused_with_their_count(desk: Desk) -> None:
    with pytest.raises(InputFault, match=r"the key \(branch, id\) is empty in 2 rows, first in line 3; nothing was"):
        desk.load("branch,id\nx,1\n,2\ny,\n", "branch", "id")

    assert desk.tables() == []


def test_a_key_the_file_lacks_is_named_with_what_it_has(desk: Desk) -> None:
    with pytest.raises(InputFault, match=r"has no column Loan_ID; it has id, name"):
        desk.load("id,name\n1,a\n", "Loan_ID")


def test_a_key_column_named_twice_is_refused(desk: Desk) -> None:
    with pytest.raises(InputFault, match="name each column once"):
        desk.load("id,name\n1,a\n", "id", "id")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is not a CSV file"),
        (b"\n\n", "is not a CSV file"),
        (b"id,name\n", "has a header and no rows"),
        (b"id,name\n1,secret,secret\n", "line 2: 3 fields, and the header has 2 names"),
        (b"id,name\n1,a\n2\n", "line 3: 1 field, and the header has 2 names"),
        ("id,name\n1,secr\xe9t\n".encode("latin-1"), "line 2: the text is not valid UTF-8; .* --encoding"),
        ("id,n\xe4me\n1,secret\n".encode("latin-1"), "line 1: the text is not valid UTF-8; .* --encoding"),
        (b"id,name,name\n1,a,b\n", "columns 2 and 3 have the same name, name"),
        (b"id,\n1,a\n", "column 2 has no name"),
        (b"id,updated_at\n1,2026-01-01\n", "has a column updated_at, which load maintains; name another"),
        (b"PK\x03\x04\x14\x00\x06\x00\x08\x00secret", "a ZIP archive or an Excel workbook; save the sheet as CSV"),
    ],
)
def test_a_file_that_cannot_be_loaded_is_refused_by_name_and_reason(desk: Desk, content: bytes, said: str) -> None:
    with pytest.raises(InputFault, match=said) as refused:
        desk.load(content)

    assert str(desk.file) in str(refused.value)
    assert "secr" not in str(refused.value)
    assert desk.tables() == []


def test_a_file_that_is_not_there_is_named(desk: Desk) -> None:
    with pytest.raises(InputFault, match=r"applicants\.csv cannot be read: No such file"):
        load_csv(desk.database, "applicants", desk.file, key=["id"])


def test_a_folder_is_no_file(desk: Desk) -> None:
    with pytest.raises(InputFault, match="cannot be read: Is a directory"):
        load_csv(desk.database, "applicants", desk.file.parent, key=["id"])


AWKWARD_NAMES = [
    "Loan ID",
    'say "hi"',
    "100% sure",
    "a:b",
    ":x",
    "%s",
    "%(v0)s",
    "select",
    "v0",
    "v1",
    "größe",
    "it's",
    "a.b",
]


def test_columns_may_have_any_name(desk: Desk) -> None:
    header = ",".join('"{}"'.format(name.replace('"', '""')) for name in AWKWARD_NAMES)
    width = len(AWKWARD_NAMES)
    for key in (["Loan ID"], ["100% sure", 'say "hi"'], ["v1", "%(v0)s", "a:b"]):
        table = f"applicants of {len(key)}"
        first = desk.load(f"{header}\n{','.join(['a'] * width)}\n{','.join(['b'] * width)}\n", *key, table=table)
        assert (first.inserted, first.created) == (2, True)
        changed = ["a" if name in key else "z" for name in AWKWARD_NAMES]
        again = desk.load(f"{header}\n{','.join(changed)}\n{','.join(['b'] * width)}\n", *key, table=table)

        assert (again.updated, again.unchanged, again.inserted) == (1, 1, 0)
        assert set(desk.rows(*AWKWARD_NAMES, table=table)) == {tuple(changed), ("b",) * width}


@pytest.mark.parametrize("table", ["Loan Applicants", "100% applicants", 'say "hi"', "select", "a:b"])
def test_tables_may_have_any_name(desk: Desk, table: str) -> None:
    assert desk.load("id,name\n1,a\n", table=table).created
    assert desk.load("id,name\n1,b\n2,c\n", table=table) == Loaded(
        table=table, read=2, inserted=1, updated=1, created=False
    )
    assert desk.rows("id", "name", table=table) == [(1, "b"), (2, "c")]


def test_the_time_of_change_goes_to_the_column_that_is_named(desk: Desk) -> None:
    desk.load("id,updated_at\n1,mine\n", changed_at='changed "at" 100%')
    before = desk.changed(changed_at='changed "at" 100%')

    desk.load("id,updated_at\n1,other\n", changed_at='changed "at" 100%')

    assert desk.rows("id", "updated_at") == [(1, "other")]
    assert desk.changed(changed_at='changed "at" 100%')[1] >= before[1]


def test_a_table_in_a_schema_is_made_and_loaded_there(postgresql_desk: Desk) -> None:
    desk = postgresql_desk
    desk.execute("CREATE SCHEMA staging")
    desk.load("id,name\n1,public\n")

    assert desk.load("id,name\n1,a\n2,b\n", table="staging.applicants").created
    assert desk.load("id,name\n1,a\n2,c\n", table="staging.applicants").updated == 1

    assert desk.rows("id", "name", schema="staging") == [(1, "a"), (2, "c")]
    assert desk.rows("id", "name") == [(1, "public")]


def test_a_load_leaves_no_table_of_its_own_behind(desk: Desk) -> None:
    desk.load("id,name\n1,a\n")
    desk.load("id,name\n1,b\n")

    assert desk.tables() == ["applicants"]


def test_a_table_named_like_the_stage_is_loaded_like_any_other(desk: Desk) -> None:
    table = "batch_scoring_load"
    assert desk.load("id,name\n1,a\n", table=table).inserted == 1
    assert desk.load("id,name\n1,b\n2,c\n", table=table).updated == 1

    assert desk.rows("id", "name", table=table) == [(1, "b"), (2, "c")]
