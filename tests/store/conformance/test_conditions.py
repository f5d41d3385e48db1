"""Conditions on a source select, on each database, the rows for which Python finds them true by the logic of SQL."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import Workspace

from batch_scoring.errors import InputFault
from batch_scoring.store.engine.columns import SourceColumn
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.sql_types import RawType
from batch_scoring.store.source.condition_parser import parse
from batch_scoring.store.source.conditions import Combined, Comparison, Condition, Not, Value
from batch_scoring.store.source.table import SourceTable

Row = dict[str, Any]
COLUMNS: dict[str, tuple[str, list[Any]]] = {
    "n": ("NUMERIC(20, 4)", [Decimal("-1.5"), Decimal(0), Decimal("2.25"), Decimal(1000)]),
    "i": ("BIGINT", [-5, 0, 7, 2**53 + 1]),
    "t": ("TEXT", ["gold", "Gold", "a*b", "50%", "", "it's", "x_y", "[q]", "back\\slash", "a\nb"]),
    "d": ("DATE", [date(2026, 1, 31), date(2026, 2, 1), date(1999, 12, 31)]),
    "s": (
        "TIMESTAMP",
        [
            datetime.fromisoformat(text)
            for text in ("2026-01-31 12:00:00", "2026-01-31 12:00:00.250000", "2026-02-01 00:00:00")
        ],
    ),
    "b": ("BOOLEAN", [True, False]),
    'odd "name"': ("TEXT", ["x", "7"]),
}
ROWS: list[Row] = [
    {
        "id": number,
        **{
            name: ([*values, None] * 12)[number * (place + 1) % (len(values) + 1)]
            for place, (name, (_, values)) in enumerate(COLUMNS.items())
        },
    }
    for number in range(60)
]
JOB = """
[source]
table = "facts"
key = ["id"]
[model]
name = "any"
[predictions]
table = "predictions"
kind = "binary"
positive_label = "1"
"""


@dataclass(frozen=True)
class Facts:
    """A table of facts as a source."""

    database: Database
    source: SourceTable

    def selected(self, *conditions: Condition) -> list[int]:
        """The ids of the rows for which all conditions hold."""
        source = self.source
        table = sa.table("facts", *(sa.column(name, _raw(column)) for name, column in source.columns.items()))
        query = sa.select(table.c.id).where(*(one.sql(source.columns, table) for one in conditions))
        with self.database.read() as connection:
            return sorted(connection.execute(query).scalars())


def _raw(column: SourceColumn) -> Any:
    return RawType(column.ddl)


@pytest.fixture
def facts(workspace: Workspace, database: Database) -> Facts:
    """Sixty rows of every kind of value."""
    declared = ", ".join(f'"{name.replace(chr(34), 2 * chr(34))}" {ddl}' for name, (ddl, _) in COLUMNS.items())
    workspace.sql(f"CREATE TABLE facts (id BIGINT PRIMARY KEY, {declared})")
    binds = ", ".join(f":v{place}" for place in range(len(COLUMNS) + 1))
    workspace.sql(
        f"INSERT INTO facts VALUES ({binds})",
        [{f"v{place}": _stored(value) for place, value in enumerate(row.values())} for row in ROWS],
    )
    job = workspace.write_job("any", JOB)
    with database.read() as connection:
        return Facts(database, SourceTable.inspect(database, connection, job))


def _stored(value: Any) -> Any:
    return str(value) if isinstance(value, Decimal | date) else value


def _holds(condition: Condition, row: Row) -> bool | None:
    """By the three-valued logic of SQL; None is unknown."""
    match condition:
        case Not(condition=inner):
            found = _holds(inner, row)
            return None if found is None else not found
        case Combined(operator=operator, conditions=parts):
            found_all = [_holds(part, row) for part in parts]
            decides = operator == "or"
            return decides if decides in found_all else None if None in found_all else not decides
        case Comparison():
            return _compared(condition, row[condition.column])


COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: bool(a == b),
    "!=": lambda a, b: bool(a != b),
    "<": lambda a, b: bool(a < b),
    "<=": lambda a, b: bool(a <= b),
    ">": lambda a, b: bool(a > b),
    ">=": lambda a, b: bool(a >= b),
}


def _compared(comparison: Comparison, found: Any) -> bool | None:
    if comparison.operator == "is null":
        return found is None
    if found is None:
        return None
    values = [_read(value.text, found) for value in comparison.values]
    if comparison.operator == "in":
        return found in values
    if comparison.operator == "between":
        return bool(values[0] <= found <= values[1])
    if comparison.operator == "like":
        return re.fullmatch(_as_regex(comparison.values[0].text), found, re.DOTALL) is not None
    return COMPARE[comparison.operator](found, values[0])


def _read(text: str, like: Any) -> Any:
    if isinstance(like, bool):
        return text == "true"
    if isinstance(like, datetime):
        return datetime.fromisoformat(text)
    if isinstance(like, date):
        return date.fromisoformat(text)
    return type(like)(text)


def _as_regex(pattern: str) -> str:
    marks = re.findall(r"\\.|.", pattern, re.DOTALL)
    return "".join({"%": ".*", "_": "."}.get(mark, re.escape(mark[-1])) for mark in marks)


def _comparisons_of(name: str) -> st.SearchStrategy[Condition]:
    ddl, samples = COLUMNS[name]
    texts = [str(value).lower() if isinstance(value, bool) else str(value) for value in samples]
    near = {"NUMERIC(20, 4)": ["2.2500", "1e3", "-2"], "BIGINT": ["1", "-6"], "TEXT": ["nothing", "7"]}.get(ddl, [])
    values = st.builds(Value, text=st.sampled_from([*texts, *near]), is_quoted=st.just(True))
    equal = st.builds(Comparison, column=st.just(name), operator=st.sampled_from(["=", "!="]), values=st.tuples(values))
    found: st.SearchStrategy[Condition] = (
        equal
        | st.builds(Comparison, column=st.just(name), operator=st.just("is null"))
        | st.builds(
            Comparison,
            column=st.just(name),
            operator=st.just("in"),
            values=st.lists(values, min_size=1, max_size=4).map(tuple),
        )
    )
    if ddl == "TEXT":  # which text is less than another is the database's collation
        patterns = st.lists(
            st.sampled_from(["%", "_", "a", "G", "g", "*", "[", "]", "\\%", "\\_", "\\\\", "'", "b"]), max_size=4
        )
        like = st.builds(Value, text=patterns.map("".join), is_quoted=st.just(True))
        return found | st.builds(Comparison, column=st.just(name), operator=st.just("like"), values=st.tuples(like))
    if ddl != "BOOLEAN":
        found |= st.builds(
            Comparison, column=st.just(name), operator=st.sampled_from(["<", "<=", ">", ">="]), values=st.tuples(values)
        ) | st.builds(Comparison, column=st.just(name), operator=st.just("between"), values=st.tuples(values, values))
    return found


CONDITIONS: st.SearchStrategy[Condition] = st.recursive(
    st.sampled_from(sorted(COLUMNS)).flatmap(_comparisons_of),
    lambda inner: (
        st.builds(Not, condition=inner)
        | st.builds(
            Combined,
            operator=st.sampled_from(["and", "or"]),
            conditions=st.lists(inner, min_size=2, max_size=3).map(tuple),
        )
    ),
    max_leaves=6,
)


@pytest.mark.slow
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(condition=CONDITIONS)
def test_the_database_selects_the_rows_for_which_a_condition_is_true(facts: Facts, condition: Condition) -> None:
    expected = [row["id"] for row in ROWS if _holds(condition, row) is True]

    assert facts.selected(condition) == expected
    assert facts.selected(parse(str(condition))) == expected


def test_the_deepest_and_the_longest_condition_that_is_read_is_evaluated(facts: Facts) -> None:
    every = list(range(60))
    deep = "id >= 0"
    for level in range(10):
        deep = f"not ({deep} {'or' if level % 2 else 'and'} id = {level})"
    facts.selected(parse(deep))
    assert facts.selected(parse(" or ".join(["id >= 0"] * 500))) == every
    assert facts.selected(parse(f"id in ({','.join(map(str, range(5000)))})")) == every


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nothing = 3", "character 1, the source has no column 'nothing'"),
        ("id = 1 and N = 3", "character 12, the source has no column 'N'"),
        ("i = 1 or i = x", "character 14, 'x': column i is BIGINT, expected an integer"),
        ("i in (1, 2, 2.5)", "character 13, '2.5': column i is BIGINT"),
        ("n between 1 and many", "character 17, 'many': column n is NUMERIC(20, 4), expected a number"),
        ("d < tomorrow", "character 5, 'tomorrow': column d is DATE, expected a date"),
        ("b = maybe", "expected true or false"),
        ("i like '1%'", "character 8, like compares texts, and column i is BIGINT"),
        ("t like '1\\'", "ends with \\"),
        ("t = n", "character 5, 'n' is a column of the source"),
        ("t = '\udcff'", "is not valid Unicode text"),
    ],
)
def test_a_condition_that_does_not_fit_the_source_is_refused_at_its_place(facts: Facts, text: str, words: str) -> None:
    with pytest.raises(InputFault) as refused:
        facts.selected(parse(text))
    assert words in str(refused.value)


def test_a_text_that_is_also_the_name_of_a_column_is_a_text_in_quotes(facts: Facts) -> None:
    assert facts.selected(parse("t = 'n'")) == []
