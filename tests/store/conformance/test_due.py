"""What is due: the difference between the source and its outcomes, whatever the clock says."""

from __future__ import annotations

import pytest
from rewriting import rewrite
from source_desk import (
    APPLICANTS,
    THREE,
    Prepare,
    keys_of,
    plain,
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

    columns = "id, run_id, reason_code, column_name, message, attempts, source_changed_at, valid_from"
    desk.execute(
        f"INSERT INTO predictions_quarantine_closed ({columns}, valid_to)"
        f" SELECT {columns}, '2999-01-01 00:00:00.000000' FROM predictions_quarantine"
    )
    desk.execute("DELETE FROM predictions_quarantine")

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

    columns = "id, run_id, model_version, score, prediction, source_changed_at, valid_from"
    rewrite(
        desk.database,
        f"INSERT INTO predictions_superseded ({columns}, valid_to)"
        f" SELECT {columns}, '2999-01-01 00:00:00.000000' FROM predictions WHERE id = 2",
    )
    rewrite(desk.database, "DELETE FROM predictions WHERE id = 2")

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
                keys_of(rows),
                rows.current_since,
                rows.quarantined_since,
                rows.attempts,
                list(map(plain, rows.features["income"])),
                strict=True,
            )
        }

        assert set(found) == {"1", "2", "4"}
        predicted = found["1"][0]
        assert predicted is not None
        assert found["1"] == (predicted, None, None, 100)
        assert found["2"] == (None, predicted, 1, 200)
        assert found["4"] == (None, None, None, None)


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
        if ddl == "NUMERIC(30, 10)" and not desk.database.dialect.enforces_types:
            continue  # SQLite itself holds both as one float
        desk.execute(f"UPDATE applicants SET updated_at = {second} WHERE id = 1")
        assert desk.due() == ["1"]
