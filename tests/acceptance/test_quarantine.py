"""Quarantined rows: looked at, given another try, exported; each verb means exactly the rows it is told."""

from __future__ import annotations

import csv
import io
from typing import Any

import pandas as pd
import pytest
from commands import events
from facts import (
    AT,
    COMPOSITE,
    active_run,
    ago,
    branch_of,
    change,
    command,
    command_json,
    copied,
    job_text,
    killed,
    prepare,
    refused,
    tables,
    unchanged,
)
from support import Workspace

from batch_scoring.files.formulas import escaped

MARKER = 7654321.125
"""A number that only facts that are quarantined have."""

SET_ASIDE = {3: "x", 6: "x", 9: "x", 12: "y", 15: None, 18: None, 24: "x"}
"""The facts that are quarantined, each with the column at fault."""
OLD = {3, 6, 9, 12, 15, 18}
"""Those that the first run quarantined, days ago."""


@pytest.fixture
def broken(request: pytest.FixtureRequest, workspace: Workspace) -> Workspace:
    """Seven facts are quarantined: six by an old run, one by the last. Their key has two columns."""
    return copied(request, workspace, composite_quarantined)


@pytest.fixture
def simple(request: pytest.FixtureRequest, workspace: Workspace) -> Workspace:
    """The same with a key of one column."""
    return copied(request, workspace, simple_quarantined)


def composite_quarantined(workspace: Workspace) -> Workspace:
    return quarantined(prepare(workspace, COMPOSITE))


def simple_quarantined(workspace: Workspace) -> Workspace:
    return quarantined(prepare(workspace))


def quarantined(workspace: Workspace) -> Workspace:
    """Two runs, of which each finds facts that cannot be scored."""
    change(workspace, f"z = {MARKER}", *SET_ASIDE)
    change(workspace, "x = NULL", 3, 6, 9)
    change(workspace, "y = NULL", 12)
    change(workspace, "y = -5", 15, 18)
    assert workspace.run("facts").quarantined_count == len(OLD)
    age = "UPDATE predictions_quarantine SET valid_from = :at"
    workspace.rewrite(age, {"at": ago(workspace, days=3)})
    change(workspace, "x = NULL", 24, at="2026-02-02 00:00:00")
    assert workspace.run("facts").quarantined_count == 1
    return workspace


SELECTORS: dict[str, tuple[list[str], set[int]]] = {
    "a key": (["--key", COMPOSITE.of(3)], {3}),
    "two keys": (["--key", COMPOSITE.of(15), "--key", COMPOSITE.of(24), "--key", COMPOSITE.of(15)], {15, 24}),
    "a code": (["--code", "missing_value"], {3, 6, 9, 12, 24}),
    "another code": (["--code", "model_error"], {15, 18}),
    "a column": (["--column", "y"], {12}),
    "a code and a column": (["--code", "missing_value", "--column", "x"], {3, 6, 9, 24}),
    "an age": (["--older-than", "2 days"], OLD),
    "an age and a code": (["--older-than", "2d", "--code", "model_error"], {15, 18}),
    "a greater age": (["--older-than", "4 days"], set()),
    "a code that no row has": (["--code", "non_finite_score"], set()),
    "a column in another case": (["--column", "X"], set()),
    "a key and its column": (["--key", COMPOSITE.of(24), "--column", "x"], {24}),
}
"""Arguments, and the facts that they mean."""


def still_open(workspace: Workspace) -> set[int]:
    """The facts that are quarantined now."""
    return {id_ for (id_,) in workspace.query("SELECT id FROM predictions_quarantine")}


def due(workspace: Workspace) -> set[int]:
    """The facts for whose present version nothing stands."""
    stands = "o.id = facts.id AND o.source_changed_at = facts.at"
    tables = ("predictions", "predictions_quarantine")
    conditions = " AND ".join(f"NOT EXISTS (SELECT 1 FROM {table} o WHERE {stands})" for table in tables)
    return {id_ for (id_,) in workspace.query(f"SELECT id FROM facts WHERE {conditions}")}


def listed(workspace: Workspace, *arguments: str) -> list[dict[str, Any]]:
    """What ``quarantine list`` finds."""
    found: list[dict[str, Any]] = command_json(workspace, "quarantine", "list", "facts", *arguments)
    return found


def test_each_selector_lists_and_exports_exactly_the_rows_it_says(broken: Workspace) -> None:
    with unchanged(broken):
        for name, (arguments, expected) in {**SELECTORS, "nothing": ([], set(SET_ASIDE))}.items():
            found = listed(broken, *arguments)
            assert {entry["key"][-1] for entry in found} == expected, name
            assert {entry["key"][-1]: entry["column_name"] for entry in found} == {i: SET_ASIDE[i] for i in expected}
            assert len(found) == len(expected)
            if name in ("two keys", "an age and a code", "nothing"):
                exported = command(broken, "quarantine", "export", "facts", *arguments)
                rows = [int(row["id"]) for row in csv.DictReader(io.StringIO(exported.stdout))]
                assert sorted(rows) == sorted(expected), name


@pytest.mark.slow
def test_each_selector_makes_exactly_the_rows_it_says_due_again(broken: Workspace) -> None:
    broken.sql("CREATE TABLE kept AS SELECT * FROM predictions_quarantine")
    before = tables(broken, "predictions")
    for name, (arguments, expected) in {**SELECTORS, "all": (["--all"], set(SET_ASIDE))}.items():
        done = command_json(broken, "quarantine", "retry", "facts", *arguments)
        assert done["due"] == len(expected), name
        assert due(broken) == expected, name
        assert still_open(broken) == set(SET_ASIDE) - expected, name
        entries = broken.with_past("predictions_quarantine")
        assert broken.scalar(f"SELECT count(*) FROM {entries} q") == len(SET_ASIDE), "entries stay"
        recorded = broken.query(
            "SELECT trigger, status, due_count, scored_count, quarantined_count FROM run_history WHERE run_id = :run",
            run=done["run_id"],
        )
        assert recorded == [("retry", "succeeded", len(expected), 0, 0)]
        broken.rewrite("DELETE FROM predictions_quarantine")
        broken.rewrite("DELETE FROM predictions_quarantine_closed")
        broken.sql("INSERT INTO predictions_quarantine SELECT * FROM kept")
    assert tables(broken, "predictions") == before


def test_entries_come_the_latest_first_and_not_more_than_the_limit(simple: Workspace) -> None:
    assert [entry["key"] for entry in listed(simple)] == [[24], [3], [6], [9], [12], [15], [18]]
    assert [entry["key"] for entry in listed(simple, "--limit", "2")] == [[24], [3]]
    shown = simple.cli("quarantine", "list", "facts", "--limit", "2")
    assert shown.returncode == 0
    rows = [line.split() for line in shown.stdout.splitlines()]
    assert [row[:3] for row in rows if row and row[0].isdigit()] == [
        ["24", "missing_value", "x"],
        ["3", "missing_value", "x"],
    ]
    assert "--limit shows them" in shown.stderr
    (newest,) = listed(simple, "--limit", "1", "--code", "missing_value")
    assert {name: newest[name] for name in ("key", "run_id", "reason_code", "column_name", "attempts")} == {
        "key": [24],
        "run_id": 2,
        "reason_code": "missing_value",
        "column_name": "x",
        "attempts": 1,
    }
    assert "--limit shows them" not in command(simple, "quarantine", "list", "facts", "--limit", "7").stderr


def test_a_retry_is_a_run_with_who_asked_and_why(broken: Workspace) -> None:
    arguments = ("--key", COMPOSITE.of(3), "--reason", "the feed was mended", "--requested-by", "Ana")
    done = broken.cli("quarantine", "retry", "facts", *arguments)
    assert done.returncode == 0, done.stderr
    assert [event["event"] for event in events(done.stderr)] == ["run_started", "run_finished"]
    assert "run 3 of facts: 1 entry closed, 1 row is due again" in done.stdout
    assert broken.query("SELECT trigger, status, reason, requested_by, due_count FROM scoring_runs ORDER BY run_id")[
        -1
    ] == ("retry", "succeeded", "the feed was mended", "Ana", 1)
    ended, finished = broken.query(
        "SELECT q.valid_to, r.finished_at FROM predictions_quarantine_closed q, scoring_runs r"
        " WHERE q.id = 3 AND r.run_id = 3"
    )[0]
    assert ended <= finished, "the entry ended within the retry"


def test_the_next_run_tries_the_rows_and_scores_those_that_were_mended(simple: Workspace) -> None:
    change(simple, "x = 1.5", 3)  # nobody says so in its version
    assert simple.run("facts").due_count == 0
    assert command(simple, "quarantine", "retry", "facts", "--key", "3", "--key", "15").returncode == 0

    run = simple.run("facts")

    assert (run.due_count, run.scored_count, run.quarantined_count) == (2, 1, 1)
    assert simple.query("SELECT run_id FROM predictions_current WHERE id = 3") == [(run.run_id,)]
    assert still_open(simple) == set(SET_ASIDE) - {3}
    assert [entry["run_id"] for entry in command_json(simple, "quarantine", "show", "facts", "15")] == [run.run_id, 1]
    assert [entry["run_id"] for entry in command_json(simple, "quarantine", "show", "facts", "3")] == [1]
    entries = simple.with_past("predictions_quarantine")
    lives = simple.query(f"SELECT valid_from, valid_to FROM {entries} q WHERE id = 15 ORDER BY run_id")
    assert lives[0][0] < lives[0][1] <= lives[1][0], "the new entry begins after the old one ended"
    assert simple.run("facts").due_count == 0


def test_a_row_that_is_quarantined_is_due_again_without_a_retry_once_its_source_row_changes(broken: Workspace) -> None:
    change(broken, "x = 1.5", 6, at="2026-03-03 00:00:00")
    change(broken, "y = -7", 15, at="2025-01-01 00:00:00")
    run = broken.run("facts")
    assert (run.due_count, run.scored_count, run.quarantined_count) == (2, 1, 1)
    assert still_open(broken) == set(SET_ASIDE) - {6}
    entries = broken.with_past("predictions_quarantine")
    again = broken.query(f"SELECT attempts FROM {entries} q WHERE id = 15 ORDER BY run_id")
    assert again == [(1,), (2,)]


@pytest.mark.parametrize("way", ["a file", "standard input"])
def test_keys_of_a_file_are_tried_again(broken: Workspace, way: str) -> None:
    rows = [[branch_of(number), str(number)][-len(COMPOSITE.columns) :] for number in (6, 18, 6)]
    text = "\n".join([",".join(COMPOSITE.columns), "", *map(",".join, rows)])
    file = broken.folder / "keys.csv"
    file.write_text(text, encoding="utf-8-sig")
    where, stdin = (str(file), "") if way == "a file" else ("-", text)
    arguments = ("--keys-file", where, "--key", COMPOSITE.of(24), "--json")
    done = command(broken, "quarantine", "retry", "facts", *arguments, stdin=stdin)
    assert done.returncode == 0, done.stderr
    assert "1 of 3 keys are duplicates" in done.stderr
    assert still_open(broken) == set(SET_ASIDE) - {6, 18, 24}
    assert due(broken) == {6, 18, 24}


def test_an_export_is_a_file_to_mend_the_source_by_and_to_retry_from(broken: Workspace) -> None:
    out = broken.folder / "quarantined.csv"
    done = broken.cli("quarantine", "export", "facts", "--code", "missing_value", "--out", str(out))
    assert (done.returncode, done.stdout) == (0, "")
    assert "wrote 5 rows" in done.stderr

    found = pd.read_csv(out, parse_dates=["since"])
    columns = [*COMPOSITE.columns, "reason_code", "column_name", "message", "attempts", "since"]
    assert list(found.columns) == columns
    assert dict(zip(found["id"], found["column_name"], strict=True)) == {3: "x", 6: "x", 9: "x", 12: "y", 24: "x"}
    assert found["message"].str.len().min() > 20
    assert str(found["since"].dt.tz) == "UTC"
    assert str(MARKER) not in out.read_text(encoding="utf-8"), "no data of the row beside its key"

    retried = command_json(broken, "quarantine", "retry", "facts", "--keys-file", str(out))
    assert retried["due"] == 5
    assert still_open(broken) == {15, 18}


def test_an_export_of_nothing_has_its_header(simple: Workspace) -> None:
    done = command(simple, "quarantine", "export", "facts", "--code", "wrong_type")
    assert pd.read_csv(io.StringIO(done.stdout)).shape == (0, 6)


def as_csv(*fields: str) -> str:
    """Fields as one line of CSV."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(fields)
    return line.getvalue()


ODD_KEYS = ["a,b", 'a"b', "a'b", "100%", "%s", ":x", "=1+1", "é", "NULL", "\\N", "a;b\tc"]


@pytest.mark.parametrize("columns", [["code"], ["code", "n"]], ids=["one column", "two columns"])
def test_odd_keys_are_found_shown_and_exported_as_they_are(workspace: Workspace, columns: list[str]) -> None:
    prepare(workspace)
    workspace.sql(
        "CREATE TABLE odd (code TEXT NOT NULL, n INTEGER NOT NULL, x DOUBLE PRECISION, y DOUBLE PRECISION,"
        f" z DOUBLE PRECISION, at TIMESTAMP, PRIMARY KEY ({', '.join(columns)}))"
    )
    frame = pd.DataFrame({"code": [*ODD_KEYS, "sound"], "n": 7, "y": 1.0, "z": 2.0, "at": AT})
    frame["x"] = [None] * len(ODD_KEYS) + [1.0]
    workspace.insert_frame("odd", frame)
    text = job_text().replace('"facts"\nkey = ["id"]', f'"odd"\nkey = {columns}'.replace("'", '"'))
    workspace.write_job("odd", text.replace('table = "predictions"', 'table = "odd_predictions"'))
    workspace.upgrade()
    assert workspace.run("odd").quarantined_count == len(ODD_KEYS)

    exported = pd.read_csv(io.StringIO(command(workspace, "quarantine", "export", "odd").stdout), keep_default_na=False)
    assert sorted(exported["code"]) == sorted(map(escaped, ODD_KEYS))

    written = [code if len(columns) == 1 else as_csv(f"code={code}", "n=7") for code in ODD_KEYS]
    chosen = [argument for key in written for argument in ("--key", key)]
    assert len(command_json(workspace, "quarantine", "list", "odd", *chosen)) == len(ODD_KEYS)
    for code, key in list(zip(ODD_KEYS, written, strict=True))[:2]:
        (entry,) = command_json(workspace, "quarantine", "show", "odd", key)
        assert entry["key"] == [code, 7][: len(columns)]
    assert command_json(workspace, "quarantine", "retry", "odd", *chosen)["due"] == len(ODD_KEYS)
    workspace.insert_frame("odd", frame.tail(1).assign(code="another that is sound"))
    assert workspace.run("odd").quarantined_count == len(ODD_KEYS)


def test_a_retry_while_another_run_is_active_changes_nothing(simple: Workspace) -> None:
    with active_run(simple) as holder, unchanged(simple, "predictions", "predictions_quarantine"):
        done = simple.cli("quarantine", "retry", "facts", "--all")
        assert done.returncode == 75
        assert f"run {holder} is active" in done.stderr
        assert done.stdout == ""
        refused(command(simple, "quarantine", "retry", "facts", "--key", "3"), 75, f"run {holder} is active")
    skipped = simple.query("SELECT trigger, status FROM scoring_runs WHERE status = 'skipped'")
    assert skipped == [("retry", "skipped")] * 2
    assert command_json(simple, "quarantine", "retry", "facts", "--all")["due"] == len(SET_ASIDE)


@pytest.mark.parametrize(
    ("at", "after", "is_done"),
    [
        pytest.param("batch_scoring.store.outcomes.history.close_entries", True, False, id="before it commits"),
        pytest.param("batch_scoring.store.runs.records.record_plan", False, True, id="after it has committed"),
    ],
)
def test_a_retry_that_is_killed_leaves_all_of_it_or_nothing(
    simple: Workspace, at: str, after: bool, is_done: bool
) -> None:
    killed(simple, "quarantine", "retry", "facts", "--code", "missing_value", at=at, after=after)
    assert still_open(simple) == ({15, 18} if is_done else set(SET_ASIDE))

    run = simple.run("facts")

    assert run.due_count == (5 if is_done else 0)
    assert simple.query("SELECT trigger, status FROM scoring_runs ORDER BY run_id")[-2:] == [
        ("retry", "abandoned"),
        ("cli", "succeeded"),
    ]
    assert still_open(simple) == set(SET_ASIDE)


RETRY = ("quarantine", "retry", "facts")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(RETRY, ["expected a selection", "--keys-file", "--all"], id="no selector"),
        pytest.param((*RETRY, "--code", ""), ["expected a selection"], id="an empty selector"),
        pytest.param((*RETRY, "--all", "--key", "3"), ["expected a selection"], id="all and a key"),
        pytest.param((*RETRY, "--all", "--older-than", "1 day"), ["expected a selection"], id="all and an age"),
        pytest.param((*RETRY, "--key", "999"), ["999 is not in the quarantine", "quarantine list"], id="unknown key"),
        pytest.param((*RETRY, "--key", "3", "--key", "1"), ["1 is not in the quarantine"], id="a key that was scored"),
        pytest.param((*RETRY, "--key", "15", "--code", "missing_value"), ["15 is not in"], id="a key of another code"),
        pytest.param((*RETRY, "--key", "three"), ["'three'", "id is INTEGER", "an integer"], id="no key"),
        pytest.param((*RETRY, "--key", ""), ["expected a value of id"], id="an empty key"),
        pytest.param((*RETRY, "--keys-file", "nowhere.csv"), ["nowhere.csv cannot be read"], id="no file"),
        pytest.param((*RETRY, "--keys-file", "-"), ["-: contains no keys"], id="an empty file"),
        pytest.param((*RETRY, "--all", "--older-than", "soon"), ["--older-than soon", "expected a dur"], id="no age"),
        pytest.param((*RETRY, "--older-than", "0 days"), ["longer than zero"], id="an age of nothing"),
        pytest.param((*RETRY[:2], "other", "--all"), ["'other'", "jobs there: facts"], id="unknown job"),
        pytest.param(
            ("quarantine", "show", "facts", "1"), ["1 was never quarantined", "why facts 1"], id="not quarantined"
        ),
        pytest.param(("quarantine", "show", "facts", "x"), ["id is INTEGER"], id="show no key"),
        pytest.param(("quarantine", "list", "facts", "--limit", "0"), ["--limit"], id="no limit"),
        pytest.param(("quarantine", "list", "facts", "--key", "x"), ["id is INTEGER"], id="list no key"),
        pytest.param(("quarantine", "export", "facts", "--out", "/nowhere/x.csv"), ["cannot be written"], id="no out"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_changes_nothing(
    scored: Workspace, arguments: tuple[str, ...], words: list[str]
) -> None:
    with unchanged(scored):
        refused(command(scored, *arguments), 2, *words)


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Facts that are quarantined. Tests change nothing in it."""
    folder = tmp_path_factory.mktemp("scored")
    return quarantined(prepare(Workspace(folder, f"sqlite:///{folder}/test.db")))


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("3", ["expected branch=…,id=…, each column once"]),
        ("id=3", ["lacks branch"]),
        ("branch=B 0,id=3,id=3", ["each column once"]),
        ("branch=B 0,id=3,x=1", ["each column once"]),
        ("branch=B 1,id=3", ["branch=B 1,id=3 is not in the quarantine"]),
        ("branch=B 0,id=B 0", ["'B 0'", "id is INTEGER"]),
    ],
)
def test_a_key_of_two_columns_that_is_none_is_refused(composite: Workspace, written: str, words: list[str]) -> None:
    with unchanged(composite):
        refused(command(composite, *RETRY, "--key", written), 2, *words)


@pytest.fixture(scope="module")
def composite(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The same with a key of two columns."""
    folder = tmp_path_factory.mktemp("composite")
    return quarantined(prepare(Workspace(folder, f"sqlite:///{folder}/test.db"), COMPOSITE))


def test_a_job_without_tables_has_no_quarantine(workspace: Workspace) -> None:
    prepare(workspace)
    text = job_text().replace('table = "predictions"', 'table = "later"')
    workspace.write_job("facts", text)
    with unchanged(workspace, "scoring_runs"):
        for arguments in (["list"], ["export"], ["retry", "--all"], ["show", "3"]):
            done = command(workspace, "quarantine", arguments[0], "facts", *arguments[1:])
            refused(done, 2, "job facts has no tables yet", "db upgrade")


def test_without_a_schema_the_command_that_makes_it_is_named(workspace: Workspace) -> None:
    workspace.sql("CREATE TABLE facts (id INTEGER PRIMARY KEY)")
    workspace.write_job("facts", job_text())
    done = workspace.cli("quarantine", "retry", "facts", "--all")
    refused(done, 2, "has no batch_scoring schema", "batch-scoring db upgrade")


def test_a_quarantine_outlives_its_source(simple: Workspace) -> None:
    simple.sql("DROP TABLE facts")
    assert len(listed(simple)) == len(SET_ASIDE)
    assert command_json(simple, "quarantine", "retry", "facts", "--key", "3")["closed"] == 1
    assert still_open(simple) == set(SET_ASIDE) - {3}
