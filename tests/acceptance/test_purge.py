"""A purge deletes exactly what is old and not on hold, however it is told and wherever it is cut short."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from commands import events
from facts import (
    COMPOSITE,
    COUNT,
    active_run,
    change,
    command,
    command_json,
    copied,
    job_text,
    killed,
    prepare,
    refused,
    unchanged,
)
from support import Workspace

CURRENT = ("predictions", "predictions_quarantine")
PAST = ("predictions_superseded", "predictions_quarantine_closed")
TABLES = (*CURRENT, *PAST, "predictions_inputs")
OLD = "2026-03-01"
"""A timestamp after the first run's and before the third's."""


def aged_facts(workspace: Workspace) -> Workspace:
    """Three runs in three months: the second supersedes five predictions and sets two rows aside, the third mends them.

    The key has two columns, and inputs are kept.
    """
    prepare(workspace, COMPOSITE, predictions="keep_inputs = true")
    run_in_month(workspace, 1)
    change(workspace, "x = x + 1", 1, 2, 3, 4, 5, at="2026-02-01 00:00:00")
    change(workspace, "x = NULL", 8, 9, at="2026-02-01 00:00:00")
    run_in_month(workspace, 2)
    change(workspace, "x = 1.5", 8, 9, at="2026-03-01 00:00:00")
    change(workspace, "x = x + 1", 1, at="2026-03-01 00:00:00")
    run_in_month(workspace, 3)
    return workspace


def run_in_month(workspace: Workspace, month: int) -> None:
    """A run as if it had been on the tenth of a month."""
    run = workspace.run("facts").run_id
    began = workspace.scalar("SELECT DISTINCT valid_from FROM predictions WHERE run_id = :run", run=run)
    then = workspace.words.timestamp_text(datetime(2026, month, 10, tzinfo=UTC))
    for table in PAST:
        workspace.rewrite(
            f"UPDATE {table} SET valid_to = :then WHERE valid_to = :began", {"then": then, "began": began}
        )
    for table in TABLES:
        workspace.rewrite(f"UPDATE {table} SET valid_from = :then WHERE run_id = :run", {"then": then, "run": run})


@pytest.fixture
def aged(request: pytest.FixtureRequest, workspace: Workspace) -> Workspace:
    """Facts with a past."""
    return copied(request, workspace, aged_facts)


def counts(workspace: Workspace) -> dict[str, int]:
    """Rows of each table."""
    found = {table: workspace.scalar(f"SELECT count(*) FROM {workspace.with_past(table)} p") for table in CURRENT}
    return {**found, "predictions_inputs": workspace.scalar("SELECT count(*) FROM predictions_inputs")}


def purge(workspace: Workspace, *arguments: str, code: int = 0) -> dict[str, Any]:
    """What a purge that nobody is asked about records."""
    done = command(workspace, "purge", "facts", *arguments, "--reason", "policy 7", "--yes", "--json")
    assert done.returncode == code, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def previewed(workspace: Workspace, *arguments: str) -> tuple[int, int, int, int]:
    """Predictions, entries and inputs that would go, and rows that a hold keeps."""
    with unchanged(workspace, *TABLES, "scoring_runs"):
        found = command_json(workspace, "purge", "facts", *arguments, "--dry-run")
    return found["predictions"], found["quarantine_entries"], found["inputs"], found["held"]


SUPERSEDED = "--superseded-before"
INPUTS = "--inputs-before"
CUTOFFS = [
    # arguments, and the predictions, entries and inputs that go
    ([SUPERSEDED, "2026-01-01"], (0, 0, 0)),
    ([SUPERSEDED, "2026-02-10"], (0, 0, 0)),  # what ended at this very moment stays
    ([SUPERSEDED, "2026-02-10 00:00:01"], (5, 0, 5)),
    ([SUPERSEDED, "2026-02-10 02:00:01+0200"], (5, 0, 5)),
    ([SUPERSEDED, "2026-12-31"], (8, 2, 8)),
    ([SUPERSEDED, "9999-12-31"], (8, 2, 8)),
    ([INPUTS, "2026-01-10"], (0, 0, 0)),
    ([INPUTS, OLD], (0, 0, COUNT + 5)),
    ([INPUTS, OLD, SUPERSEDED, OLD], (5, 0, COUNT + 5)),
    ([INPUTS, "2026-02-01", SUPERSEDED, "2026-12-31"], (8, 2, COUNT + 1)),
]


DONE = [CUTOFFS[2][0], CUTOFFS[4][0], CUTOFFS[-1][0]]
"""Those that are carried out, too."""


@pytest.mark.slow
def test_a_purge_deletes_what_its_dry_run_counts_and_never_what_is_current(aged: Workspace) -> None:
    for table in TABLES:
        aged.sql(f"CREATE TABLE kept_{table} AS SELECT * FROM {table}")
    for arguments, expected in CUTOFFS:
        before = counts(aged)
        current = aged.query("SELECT * FROM predictions_current ORDER BY id")
        assert previewed(aged, *arguments) == (*expected, 0), arguments
        if arguments not in DONE:
            continue

        run = purge(aged, *arguments)

        after = counts(aged)
        assert tuple(before[table] - after[table] for table in before) == expected, arguments
        assert (run["trigger"], run["status"], run["purged_count"], run["reason"]) == (
            "purge",
            "succeeded",
            sum(expected),
            "policy 7",
        )
        assert aged.query("SELECT * FROM predictions_current ORDER BY id") == current
        assert previewed(aged, *arguments) == (0, 0, 0, 0)
        for table in TABLES:
            aged.rewrite(f"DELETE FROM {table}")
            aged.sql(f"INSERT INTO {table} SELECT * FROM kept_{table}")


def test_an_open_entry_is_never_deleted(aged: Workspace) -> None:
    change(aged, "x = NULL", 20, at="2026-04-01 00:00:00")
    aged.run("facts")
    purge(aged, SUPERSEDED, "9999-12-31", INPUTS, "9999-12-31")
    assert aged.query("SELECT id FROM predictions_quarantine") == [(20,)]
    assert counts(aged) == {"predictions": COUNT, "predictions_quarantine": 1, "predictions_inputs": 0}
    assert aged.run("facts").due_count == 0, "nothing is due for what was deleted"


def test_what_is_on_hold_by_key_or_by_run_stays_until_the_hold_ends(aged: Workspace) -> None:
    everything = (SUPERSEDED, "2026-12-31")
    by_key = command_json(aged, "hold", "add", "facts", "--key", COMPOSITE.of(1), "--reason", "a claim")
    assert previewed(aged, *everything) == (6, 2, 6, 4)
    by_run = command_json(aged, "hold", "add", "facts", "--run", "2", "--reason", "an audit", "--requested-by", "Ana")
    assert previewed(aged, *everything) == (6, 0, 6, 6)
    assert purge(aged, *everything)["purged_count"] == 12
    assert aged.query("SELECT id, run_id FROM predictions_superseded ORDER BY run_id") == [
        (1, 1),
        (1, 2),
    ]
    assert aged.query("SELECT id FROM predictions_quarantine_closed ORDER BY id") == [(8,), (9,)]

    holds = command_json(aged, "hold", "list", "facts")
    assert [(hold["hold_id"], hold["source_key"], hold["run_id"], hold["reason"]) for hold in holds] == [
        (by_key["hold_id"], {"branch": "B 1", "id": "1"}, None, "a claim"),
        (by_run["hold_id"], None, 2, "an audit"),
    ]
    assert holds[1]["created_by"] == "Ana"
    assert command(aged, "hold", "remove", str(by_key["hold_id"]), "--requested-by", "Ben").returncode == 0
    assert previewed(aged, *everything) == (1, 0, 1, 4), "run 2 still holds what it wrote"
    assert command(aged, "hold", "remove", str(by_run["hold_id"])).returncode == 0
    refused(
        command(aged, "hold", "remove", str(by_run["hold_id"])), 2, "there is no active hold", "hold list --removed"
    )
    assert purge(aged, *everything)["purged_count"] == 6
    assert command_json(aged, "hold", "list", "facts") == []
    removed = command_json(aged, "hold", "list", "--removed")
    assert removed[0]["removed_by"] == "Ben"


def test_a_hold_of_another_job_holds_nothing_of_this_one(aged: Workspace) -> None:
    aged.write_job("other", job_text(COMPOSITE).replace('table = "predictions"', 'table = "elsewhere"'))
    aged.run("other")
    command_json(aged, "hold", "add", "other", "--key", COMPOSITE.of(1), "--reason", "a claim")
    assert previewed(aged, SUPERSEDED, "2026-12-31") == (8, 2, 8, 0)
    refused(command(aged, "hold", "add", "other", "--run", "1", "--reason", "x"), 2, "job other has no run 1")


@pytest.mark.parametrize(
    ("at", "call", "left"),
    [
        pytest.param("batch_scoring.store.runs.records.record_purged", 1, 18, id="before the first commit"),
        pytest.param("batch_scoring.store.runs.records.record_purged", 2, 10, id="before the second"),
        pytest.param("batch_scoring.store.outcomes.retention.purge_some", 3, 2, id="between two"),
    ],
)
def test_what_a_purge_that_was_killed_left_goes_with_the_next(aged: Workspace, at: str, call: int, left: int) -> None:
    everything = (SUPERSEDED, "2026-12-31")
    killed(aged, "purge", "facts", *everything, "--reason", "policy", "--yes", at=at, call=call)
    assert sum(previewed(aged, *everything)) == left
    assert aged.scalar("SELECT purged_count FROM scoring_runs WHERE trigger = 'purge'") == 18 - left

    assert purge(aged, *everything)["purged_count"] == left

    assert counts(aged) == {"predictions": COUNT, "predictions_quarantine": 0, "predictions_inputs": COUNT}
    statuses = aged.query("SELECT status FROM scoring_runs WHERE trigger = 'purge' ORDER BY run_id")
    assert statuses == [("abandoned",), ("succeeded",)]


def test_more_than_ten_thousand_rows_take_several_transactions(aged: Workspace) -> None:
    columns = "run_id, model_version, score, prediction, source_changed_at, valid_from, valid_to"
    aged.sql(
        "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 12000)"
        f" INSERT INTO predictions_superseded (branch, id, {columns})"
        f" SELECT 'C', n, {columns} FROM s, predictions_superseded p"
        " WHERE p.id = 1 AND p.run_id = 1"
    )
    expected = (12_008, 2, 8, 0)
    assert previewed(aged, SUPERSEDED, "2026-12-31") == expected
    done = command(aged, "purge", "facts", SUPERSEDED, "2026-12-31", "--reason", "x", "--yes")
    assert done.returncode == 0, done.stderr
    assert [event["event"] for event in events(done.stderr)] == ["run_started", "run_finished"]
    assert "12,018 rows deleted" in done.stdout
    assert counts(aged)["predictions"] == COUNT


def test_while_another_run_is_active_nothing_is_deleted(aged: Workspace) -> None:
    with active_run(aged) as holder, unchanged(aged, *TABLES):
        done = command(aged, "purge", "facts", SUPERSEDED, "2026-12-31", "--reason", "x", "--yes")
        refused(done, 75, f"run {holder} is active")
        assert previewed(aged, SUPERSEDED, "2026-12-31") == (8, 2, 8, 0), "a dry run waits for nobody"


PURGE = ("purge", "facts")
ASKED = (*PURGE, SUPERSEDED, "2026-12-31")
HOLD = ("hold", "add", "facts", "--reason", "x")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(
            (*PURGE, "--reason", "x", "--yes"), ["expected --superseded-before", SUPERSEDED, INPUTS], id="no cutoff"
        ),
        pytest.param((*ASKED, "--yes"), ["--reason is missing"], id="no reason"),
        pytest.param((*ASKED, "--reason", "  ", "--yes"), ["--reason is missing"], id="an empty reason"),
        pytest.param((*ASKED, "--reason", "x"), ["delete 8 superseded", "2 closed", "--yes"], id="in a script"),
        pytest.param((*PURGE, SUPERSEDED, "last year", "--dry-run"), [SUPERSEDED], id="no moment"),
        pytest.param((*PURGE, INPUTS, "2026-02-30", "--dry-run"), [INPUTS], id="no such day"),
        pytest.param(("purge", "other", *ASKED[2:]), ["'other'", "jobs there: facts"], id="unknown job"),
        pytest.param(HOLD, ["expected either --key or --run", "--key or --run"], id="hold nothing"),
        pytest.param(
            (*HOLD, "--key", COMPOSITE.of(1), "--run", "1"), ["expected either --key or --run"], id="hold two"
        ),
        pytest.param((*HOLD, "--run", "99"), ["job facts has no run 99"], id="hold unknown run"),
        pytest.param((*HOLD, "--run", "0"), ["--run"], id="hold no run"),
        pytest.param((*HOLD, "--key", "branch=B 0,id=999"), ["was never scored", "nothing to hold"], id="unknown key"),
        pytest.param((*HOLD, "--key", "branch=B 2,id=1"), ["was never scored"], id="another branch"),
        pytest.param((*HOLD, "--key", "branch=B 1,id=x"), ["'x'", "an integer"], id="hold no number"),
        pytest.param((*HOLD, "--key", "1"), ["expected branch=…,id=…"], id="hold no key"),
        pytest.param((*HOLD[:3], "--key", COMPOSITE.of(1)), ["--reason"], id="hold without a reason"),
        pytest.param(
            (*HOLD[:3], "--key", COMPOSITE.of(1), "--reason", " "), ["--reason is missing"], id="empty reason"
        ),
        pytest.param(("hold", "remove", "7"), ["there is no active hold 7"], id="no such hold"),
        pytest.param(("hold", "remove", "seven"), ["Invalid value"], id="no number"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_changes_nothing(
    in_sqlite: Workspace, arguments: tuple[str, ...], words: list[str]
) -> None:
    with unchanged(in_sqlite, *TABLES, "scoring_runs", "legal_holds"):
        refused(command(in_sqlite, *arguments), 2, *words)


@pytest.fixture(scope="module")
def in_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Facts with a past. Tests change nothing in it."""
    folder = tmp_path_factory.mktemp("aged")
    return aged_facts(Workspace(folder, f"sqlite:///{folder}/test.db"))
