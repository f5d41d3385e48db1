"""Keys are exact, whatever their type."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from source_desk import (
    NASTY_TEXTS,
    Prepare,
    assert_each_key_is_scored_once_and_superseded_once,
    insert_keys,
    keys_of,
    source_keys,
    stored_keys,
)

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


@pytest.mark.parametrize("ddl", KEY_TYPES)
def test_keys_are_exact_whatever_their_type(prepare: Prepare, ddl: str) -> None:
    desk = prepare(f"CREATE TABLE applicants (id {ddl} NOT NULL PRIMARY KEY, updated_at TIMESTAMP)")
    insert_keys(desk, [(value,) for value in KEY_TYPES[ddl]])

    assert_each_key_is_scored_once_and_superseded_once(desk, len(KEY_TYPES[ddl]))
    assert stored_keys(desk) == source_keys(desk)


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
    insert_keys(desk, keys)

    assert_each_key_is_scored_once_and_superseded_once(desk, len(keys))
    assert desk.keys() == []
    assert stored_keys(desk) == source_keys(desk)


def test_a_text_key_of_digits_stays_text(prepare: Prepare) -> None:
    desk = prepare(
        "CREATE TABLE applicants (id VARCHAR(20) NOT NULL PRIMARY KEY, updated_at TIMESTAMP)",
        "INSERT INTO applicants (id) VALUES ('007'), ('7'), ('7.0'), ('1e5'), ('-0')",
    )
    desk.settle()

    assert stored_keys(desk) == Counter([("007",), ("7",), ("7.0",), ("1e5",), ("-0",)])


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
    read = [keys_of(desk.read(chunk)) for chunk in desk.walk(1)]
    assert sorted(key for chunk in read for (key,) in chunk) == desk.due()
    desk.settle()
    assert desk.due() == []
    desk.execute("UPDATE raw_applicants SET updated_at = '2026-01-01 00:00:00'")
    assert desk.settle().superseded == len(keys)
    assert desk.due() == []
