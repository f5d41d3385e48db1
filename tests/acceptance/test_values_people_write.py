"""Keys and conditions as people write them select what they mean, on either database."""

from __future__ import annotations

import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from support import Workspace

from batch_scoring.cli.keys import parse_key
from batch_scoring.errors import InputFault, NoSuchModel
from batch_scoring.operations import rescore
from batch_scoring.store.source.condition_parser import parse
from batch_scoring.store.source.selection import Request, Selection

_JOB = """
[source]
table = "{table}"
key = ["{key}"]

[model]
name = "any"

[predictions]
table = "{table}_predictions"
positive_label = "1"
"""

MOMENTS = ["2026-01-31 12:00:00.000000", "2026-02-01 00:00:00.000000", "2026-02-02 12:00:00.250000"]


@pytest.fixture
def events(workspace: Workspace) -> Workspace:
    """Three rows by number, timestamp and day, and a view of them whose columns have no type on SQLite."""
    workspace.sql(
        f"CREATE TABLE events (at {workspace.words.local_timestamp} PRIMARY KEY, id BIGINT NOT NULL UNIQUE, day DATE,"
        " amount DOUBLE PRECISION,"
        ' name TEXT, "a=b" INTEGER, x DOUBLE PRECISION)'
    )
    workspace.sql(
        'INSERT INTO events (at, id, day, amount, name, "a=b", x) VALUES (:at, :id, :day, :amount, :name, :odd, :x)',
        [
            {"at": at, "id": i, "day": at[:10], "amount": 1000.0 * i, "name": f"'{i}'", "odd": i, "x": i / 4}
            for i, at in enumerate(MOMENTS, start=1)
        ],
    )
    workspace.sql("CREATE VIEW seen AS SELECT id + 0 AS number, x FROM events")
    workspace.write_job("events", _JOB.format(table="events", key="at"))
    workspace.write_job("seen", _JOB.format(table="seen", key="number"))
    sample = pd.DataFrame({"x": [0.0, 1.0, 0.25, 0.75]})
    workspace.upgrade()
    workspace.register(LogisticRegression().fit(sample, ["0", "1", "0", "1"]), sample, name="any")
    for name in ("events", "seen"):
        assert workspace.run(name).scored_count == 3
    return workspace


def _count(workspace: Workspace, request: Request, name: str = "events") -> int:
    with workspace.database() as database:
        return rescore.plan(database, workspace.job(name), request).row_count


def _where(workspace: Workspace, term: str, name: str = "events") -> int:
    return _count(workspace, Request(selection=Selection(where=(parse(term),))), name)


@pytest.mark.parametrize(
    ("term", "rows"),
    [
        ("at = 2026-01-31 12:00:00", 1),
        ("at = 2026-01-31 12:00:00.000000", 1),
        ("at = 2026-01-31T12:00:00", 1),
        ("at = '2026-01-31 14:00:00+02:00'", 1),
        ("at = 2026-02-02 12:00:00.25", 1),
        ("at <= 2026-02-01", 2),
        ("at < 2026-02-01 00:00:00", 1),
        ("at >= 2026-02-01T00:00:00.000000", 2),
        ("at != 2026-02-01", 2),
        ("day = 20260131", 1),
        ("day < 20260201", 1),
        ("day >= 2026-02-01", 2),
        ("amount = 1_000", 1),
        ("amount > 1e3", 2),
        ("amount < 1e300", 3),
        ('"a=b" = 3', 1),
        ('"a=b" >= 2', 2),
        ("name = '''1'''", 1),
        ("day is not null", 3),
    ],
)
def test_a_condition_selects_the_rows_it_means(events: Workspace, term: str, rows: int) -> None:
    assert _where(events, term) == rows


@pytest.mark.parametrize(("term", "rows"), [("number = 2", 1), ("number >= 2", 2), ("x = 0.25", 1), ("x < 0.6", 2)])
def test_a_condition_on_a_view_of_untyped_columns_compares_numbers(events: Workspace, term: str, rows: int) -> None:
    assert _where(events, term, "seen") == rows


@pytest.mark.parametrize(
    "key", ["2026-01-31 12:00:00", "2026-01-31 12:00:00.000000", "2026-01-31T12:00:00", "2026-01-31T12:00:00+00:00"]
)
def test_a_timestamp_is_found_as_a_key_however_it_is_written(events: Workspace, key: str) -> None:
    assert _count(events, Request(keys=(parse_key(key, ["at"]),))) == 1
    again = events.cli("why", "events", key)
    assert "scored by run" in again.stdout, again.stderr


@pytest.mark.parametrize(
    "term",
    [
        "amount < 1e400",
        "amount < 1e100000000",
        "id = 99999999999999999999",
        "name == 3",
        "at = yesterday",
        "id = \udcff",
    ],
)
def test_a_value_that_no_column_holds_is_refused(events: Workspace, term: str) -> None:
    with pytest.raises(InputFault, match="--where"):
        _where(events, term)


@pytest.mark.slow
def test_numbers_too_large_for_the_database_are_refused_by_each_command(events: Workspace) -> None:
    huge = "123456789012345678901234567890"
    for arguments in (
        ("rescore", "events", "--continue", huge, "--reason", "x"),
        ("rescore", "events", "--all", "--model-version", huge, "--dry-run"),
        ("rescore", "events", "--all", "--model-version", "", "--dry-run"),
        ("rescore", "events", "--scored-by-version", "9", "--dry-run"),
        ("why", "seen", huge),
        ("hold", "add", "events", "--run", huge, "--reason", "x"),
        ("hold", "remove", huge),
        ("replay", "events", "--run", huge),
        ("quarantine", "list", "events", "--older-than", "200000 weeks"),
        ("purge", "events", "--superseded-before", "9999-12-31 23:59:59-0200", "--dry-run"),
    ):
        done = events.cli(*arguments)
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode in (0, 2, 3), (arguments, done.stderr)


def test_a_version_that_never_was_selects_nothing_and_says_so(events: Workspace) -> None:
    with pytest.raises(NoSuchModel, match="no version 9"):
        _count(events, Request(selection=Selection(scored_by_version=9)))
