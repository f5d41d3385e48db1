"""The condition of a job on its source."""

from __future__ import annotations

import dataclasses

import pytest
from source_desk import (
    APPLICANTS,
    THREE,
    Prepare,
    inspect_source,
    job_text,
)

from batch_scoring.errors import SourceFault

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
    job = desk.workspace.write_job("loans", job_text(where=where))

    with pytest.raises(SourceFault, match=r"\[source\] where is not a condition on the rows of applicants: "):
        inspect_source(desk.database, job).check_where(desk.database)
    assert desk.workspace.scalar("SELECT count(*) FROM applicants") == 3
