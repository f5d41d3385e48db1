"""Why a row has the score it has, or none: one answer for each state it may be in, and all it has been through."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
from facts import (
    AT,
    COMPOSITE,
    change,
    command,
    copied,
    fitted,
    job_text,
    prepare,
    refused,
    sample,
    tables,
    unchanged,
)
from support import Workspace

EVERY_QUARTER = '[schedule]\ncron = "*/15 * * * *"'
LATER = "2026-04-05 06:07:08"


def in_each_state(workspace: Workspace) -> Workspace:
    """Facts in each state that a row may be in, after one run."""
    prepare(workspace, COMPOSITE, source='where = "id <> 40"', after=EVERY_QUARTER)
    change(workspace, "x = NULL", 3)
    change(workspace, "y = -5", 4)
    workspace.run("facts")
    workspace.sql(
        "INSERT INTO facts (id, branch, x, y, z, at) SELECT id + 40, branch, x, y, z, at FROM facts WHERE id = 1"
    )
    change(workspace, "x = x + 1", 5, at=LATER)
    workspace.sql("DELETE FROM facts WHERE id IN (4, 39)")
    return workspace


@pytest.fixture
def states(request: pytest.FixtureRequest, workspace: Workspace) -> Workspace:
    """Facts in each state, with a key of two columns."""
    return copied(request, workspace, in_each_state)


def why(workspace: Workspace, key: str, job: str = "facts") -> dict[str, Any]:
    """The answer as JSON."""
    done = command(workspace, "why", "--json", job, "--", key)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def moment(text: str) -> datetime:
    """A timestamp of an answer, in UTC."""
    found = datetime.fromisoformat(text)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


STATES = {
    # number, branch: state, words of the explanation, predictions, entries, version of the source row
    (1, "B 1"): ("scored", ["scored by run 1 (cli, requested by ", "facts version 1"], 1, 0, AT),
    (41, "B 1"): ("due", ["has not been scored yet", "the run of ", "will score it"], 0, 0, AT),
    (5, "B 2"): ("due", ["was scored, and has changed or been released for a retry since", "the run of "], 1, 0, LATER),
    (3, "B 0"): ("quarantined", ["by run 1: missing_value in x", "source row changes", "quarantine retry"], 0, 1, AT),
    (40, "B 1"): ("outside", ["is in facts", "[source] where excludes it"], 0, 0, None),
    (39, "B 0"): ("gone", ["no longer has such a row", "its predictions are kept"], 1, 0, None),
    (4, "B 1"): ("gone", ["no longer has such a row"], 0, 1, None),
    (999, "B 0"): ("unknown", ["no such row", "none was ever scored"], 0, 0, None),
    (1, "B 2"): ("unknown", ["no such row"], 0, 0, None),
}


def test_there_is_one_answer_for_each_state(states: Workspace) -> None:
    with unchanged(states):
        for (number, branch), (state, words, predictions, entries, version) in STATES.items():
            key = f"branch={branch},id={number}"
            answer = why(states, key)
            assert (answer["job"], answer["key"], answer["state"]) == ("facts", key, state)
            for word in words:
                assert word in answer["explanation"], key
            assert (len(answer["predictions"]), len(answer["quarantine"])) == (predictions, entries), key
            found = answer["source_changed_at"]
            assert (found if found is None else found.replace("T", " ")) == version, key
            assert (answer["next_slot"] is not None) == (state == "due"), key


def test_what_is_due_is_taken_at_the_next_slot_of_the_schedule(states: Workspace) -> None:
    before = datetime.now(UTC)
    answer = why(states, "branch=B 1,id=41")
    slot = moment(answer["next_slot"])
    assert before < slot <= before + timedelta(minutes=15, seconds=5)
    assert (slot.minute % 15, slot.second) == (0, 0)
    assert f"the run of {slot:%Y-%m-%d %H:%M:%S} UTC will score it" in answer["explanation"]

    states.write_job("facts", job_text(COMPOSITE, after='[schedule]\nevery = "7 hours"'))
    slot = moment(why(states, "branch=B 1,id=41")["next_slot"])
    assert slot.timestamp() % timedelta(hours=7).total_seconds() == 0
    assert before < slot <= before + timedelta(hours=7, seconds=5)

    states.write_job("facts", job_text(COMPOSITE))
    answer = why(states, "branch=B 1,id=41")
    assert answer["next_slot"] is None
    assert "the next run will score it" in answer["explanation"]


@pytest.mark.slow
def test_every_prediction_is_told_with_who_had_it_made_and_why(workspace: Workspace) -> None:
    prepare(workspace)
    workspace.run("facts")
    other = fitted().set_params(logisticregression__C=0.1).fit(sample(), ["yes", "no"] * 20)
    workspace.register(other, sample(), name="facts")
    asked = ("--key", "2", "--model-version", "2", "--reason", "a complaint", "--requested-by", "Ana", "--yes")
    assert workspace.cli("rescore", "facts", *asked).returncode == 0
    change(workspace, "y = -5", 2, at=LATER)
    workspace.run("facts")
    change(workspace, "y = 5", 2, at="2026-04-06 00:00:00")
    workspace.run("facts")

    answer = why(workspace, "2")

    assert answer["state"] == "scored"
    assert "scored by run 4 (cli" in answer["explanation"]
    last, second, first = answer["predictions"]
    assert [life["run_id"] for life in (first, second, last)] == [1, 2, 4]
    assert [life["trigger"] for life in (first, second, last)] == ["cli", "rescore", "cli"]
    assert [life["model_version"] for life in (first, second, last)] == [1, 2, 1]
    assert [life["reason"] for life in (first, second, last)] == [None, "a complaint", None]
    assert second["requested_by"] == "Ana"
    assert (
        first["requested_by"]
        == last["requested_by"]
        == workspace.scalar("SELECT requested_by FROM scoring_runs WHERE run_id = 1")
    )
    assert {life["model_name"] for life in answer["predictions"]} == {"facts"}
    assert moment(first["valid_to"]) == moment(second["valid_from"])
    assert moment(second["valid_to"]) == moment(last["valid_from"])
    assert moment(last["valid_to"]).year == 9999
    stored = workspace.query("SELECT score, prediction FROM predictions_history WHERE id = 2 ORDER BY valid_from DESC")
    assert [(life["score"], life["prediction"]) for life in answer["predictions"]] == stored
    hashes = dict(workspace.query("SELECT version, artifact_sha256 FROM model_versions WHERE name = 'facts'"))
    assert [life["artifact_sha256"] for life in answer["predictions"]] == [hashes[1], hashes[2], hashes[1]]

    (entry,) = answer["quarantine"]
    assert (entry["run_id"], entry["reason_code"], entry["column_name"]) == (3, "model_error", None)
    assert moment(entry["valid_to"]) == moment(last["valid_from"])

    shown = command(workspace, "why", "facts", "2")
    assert (shown.returncode, shown.stderr) == (0, "")
    for word in (
        "scored by run 4",
        "predictions, the latest first",
        "a complaint",
        "Ana",
        "facts v2",
        "when it was quarantined",
        "current",
    ):
        assert word in shown.stdout


def test_a_row_that_was_quarantined_after_it_was_scored_keeps_its_prediction(workspace: Workspace) -> None:
    prepare(workspace)
    workspace.run("facts")
    change(workspace, "x = NULL", 2, at=LATER)
    assert why(workspace, "2")["state"] == "due"
    workspace.run("facts")
    answer = why(workspace, "2")
    assert answer["state"] == "quarantined"
    assert "by run 2: missing_value in x" in answer["explanation"]
    assert [moment(life["valid_to"]).year for life in answer["predictions"]] == [9999]

    command(workspace, "quarantine", "retry", "facts", "--key", "2")
    answer = why(workspace, "2")
    assert answer["state"] == "due"
    (entry,) = answer["quarantine"]
    assert moment(entry["valid_to"]).year < 9999


def test_before_the_first_run_every_row_is_due_and_nothing_is_known_of_others(workspace: Workspace) -> None:
    prepare(workspace)
    for text in (job_text(), job_text().replace('table = "predictions"', 'table = "later"')):
        workspace.write_job("facts", text)
        with unchanged(workspace, "scoring_runs"):
            assert why(workspace, "7")["state"] == "due"
            assert "has not been scored yet; the next run will score it" in why(workspace, "7")["explanation"]
            assert why(workspace, "77")["state"] == "unknown"


def test_without_a_version_column_a_row_is_scored_once(workspace: Workspace) -> None:
    prepare(workspace)
    text = job_text().replace('changed_at = "at"', "").replace('table = "predictions"', 'table = "once"')
    workspace.write_job("facts", text)
    workspace.run("facts")
    change(workspace, "x = 9", 2, at=LATER)
    answer = why(workspace, "2")
    assert (answer["state"], answer["source_changed_at"]) == ("scored", None)


ODD = ["a,b", 'a"b', "a'b", "100%", "%s", ":x", "=1+1", "é", "e\u0301", "NULL", "\\N", " a ", "a=b,n=7", "-- x", "007"]


def as_csv(*fields: str) -> str:
    """Fields as one line of CSV."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(fields)
    return line.getvalue()


@pytest.mark.parametrize("columns", [["code"], ["code", "n"]], ids=["one column", "two columns"])
def test_an_odd_key_is_answered_for_as_it_is(workspace: Workspace, columns: list[str]) -> None:
    prepare(workspace)
    workspace.sql(
        "CREATE TABLE odd (code TEXT NOT NULL, n BIGINT NOT NULL, x DOUBLE PRECISION, y DOUBLE PRECISION,"
        f" z DOUBLE PRECISION, at TIMESTAMP, PRIMARY KEY ({', '.join(columns)}))"
    )
    frame = sample().head(len(ODD)).assign(code=ODD, n=2**53 + 1, at=AT)
    workspace.insert_frame("odd", frame)
    text = job_text().replace('"facts"\nkey = ["id"]', f'"odd"\nkey = {columns}'.replace("'", '"'))
    workspace.write_job("odd", text.replace('table = "predictions"', 'table = "odd_predictions"'))
    workspace.upgrade()
    workspace.run("odd")
    scores = dict(workspace.query("SELECT code, score FROM odd_predictions"))
    assert sorted(scores) == sorted(ODD)
    for code in [*ODD, "a", "A,B", "7"]:
        answer = why(workspace, code if len(columns) == 1 else as_csv(f"code={code}", f"n={2**53 + 1}"), "odd")
        found = [life["score"] for life in answer["predictions"]]
        assert (answer["state"], found) == (("scored", [scores[code]]) if code in ODD else ("unknown", []))
    if len(columns) == 2:
        assert why(workspace, f"code=%s,n={2**53}", "odd")["state"] == "unknown"
        assert why(workspace, f"n={2**53 + 1},code=%s", "odd")["state"] == "scored"


TYPED: dict[str, tuple[str, list[str], dict[str, str]]] = {
    # type of the key: the key that is there, other ways to write it, and what is none with what is expected of it
    "INTEGER": (
        "7",
        ["7", "+7", "007", " 7 "],
        {"seven": "an integer", "7.0": "an integer", "1_0": "an integer", "\u0667": "an integer"},
    ),
    "NUMERIC(12, 4)": (
        "7.5",
        ["7.5", "7.50", "+7.5", "0.75e1"],
        {"x": "a number", "NaN": "a number", "1e": "a number"},
    ),
    "BOOLEAN": ("true", ["true", "True", "1", "t"], {"maybe": "true or false", "2": "true or false"}),
    "DATE": ("2026-01-31", ["2026-01-31"], {"2026-02-30": "a date such as", "soon": "a date such as"}),
    "TIMESTAMP": (
        "2026-01-31 12:00:00",
        ["2026-01-31 12:00:00"],
        {"25:00": "a timestamp such as", "x": "a timestamp such"},
    ),
    "UUID": (
        "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        ["6BA7B810-9DAD-11D1-80B4-00C04FD430C8", "6ba7b8109dad11d180b400c04fd430c8"],
        {"6ba7b810": "a UUID", "x": "a UUID"},
    ),
}


@pytest.mark.parametrize("declared", TYPED)
def test_a_key_is_read_as_its_column_s_type_and_refused_where_it_is_none(workspace: Workspace, declared: str) -> None:
    if declared == "UUID" and not workspace.words.has_uuids:
        pytest.skip(f"{workspace.dialect.product} has no such type")
    key, writings, none = TYPED[declared]
    prepare(workspace)
    value = "TRUE" if declared == "BOOLEAN" else f"'{key}'"
    workspace.sql("CREATE TABLE typed AS SELECT 1 AS n, x, y, z, at FROM facts WHERE id = 2")
    workspace.sql("DROP TABLE facts")
    workspace.sql(
        f"CREATE TABLE facts (id {declared} NOT NULL PRIMARY KEY, x DOUBLE PRECISION, y DOUBLE PRECISION,"
        " z DOUBLE PRECISION, at TIMESTAMP)"
    )
    workspace.sql(f"INSERT INTO facts SELECT {value}, x, y, z, at FROM typed")
    workspace.write_job("facts", job_text().replace('table = "predictions"', 'table = "typed_predictions"'))
    workspace.run("facts")
    for written in writings:
        answer = why(workspace, written)
        assert (answer["state"], len(answer["predictions"])) == ("scored", 1), written
    with unchanged(workspace, "typed_predictions", "scoring_runs"):
        for written, expected in none.items():
            refused(command(workspace, "why", "facts", written), 2, f"'{written}'", "column id is", expected)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["facts", "7"], ["'7'", "expected branch=…,id=…"]),
        (["facts", "id=7"], ["lacks branch"]),
        (["facts", "branch=B 1,id=x"], ["'x'", "column id is INTEGER", "an integer"]),
        (["facts", "branch=B 1,id="], ["''", "an integer"]),
        (["facts", "branch=B 1,id=7,id=7"], ["each column once"]),
        (["facts", ""], ["expected branch=…,id=…"]),
        (["other", "7"], ["'other'", "jobs there: facts"]),
    ],
)
def test_what_is_no_key_is_refused(in_sqlite: Workspace, arguments: list[str], words: list[str]) -> None:
    refused(command(in_sqlite, "why", *arguments), 2, *words)


@pytest.fixture(scope="module")
def in_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Facts in each state. Tests change nothing in it."""
    folder = tmp_path_factory.mktemp("states")
    return in_each_state(Workspace(folder, f"sqlite:///{folder}/test.db"))


def test_a_source_that_is_gone_and_a_schema_that_is_missing_are_named(workspace: Workspace) -> None:
    workspace.sql("CREATE TABLE facts (id INTEGER PRIMARY KEY)")
    workspace.write_job("facts", job_text())
    refused(command(workspace, "why", "facts", "1"), 2, "has no batch_scoring schema", "db upgrade")
    workspace.upgrade()
    workspace.sql("DROP TABLE facts")
    refused(command(workspace, "why", "facts", "1"), 2, "no table or view facts")


def test_the_source_is_asked_as_it_is_now(workspace: Workspace) -> None:
    prepare(workspace)
    workspace.run("facts")
    before = tables(workspace)
    change(workspace, "x = 4", 2, at=LATER)
    assert why(workspace, "2")["state"] == "due"
    change(workspace, "x = 4", 2, at=AT)
    assert why(workspace, "2")["state"] == "scored"
    frame = pd.DataFrame({"id": [50], "branch": ["B"], "x": [1.0], "y": [1.0], "z": [1.0], "at": [AT]})
    workspace.insert_frame("facts", frame)
    assert why(workspace, "50")["state"] == "due"
    workspace.sql("DELETE FROM facts WHERE id = 2")
    assert why(workspace, "2")["state"] == "gone"
    assert tables(workspace) == before
