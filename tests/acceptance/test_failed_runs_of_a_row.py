"""`why` names the runs that failed while a row was due, and those that failed on the rows around it."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from support import Workspace

from batch_scoring.errors import EveryRowFailed, SourceFault

JOB = """
[source]
table = "facts"
key = ["branch", "id"]
changed_at = "updated_at"
[model]
name = "any"
[predictions]
table = "predictions"
kind = "binary"
positive_label = "1"
[run]
chunk_rows = 200
"""


@pytest.fixture
def facts(workspace: Workspace) -> Workspace:
    """500 rows of two branches; those of branch b have no x, which the model needs."""
    workspace.sql(
        "CREATE TABLE facts (branch TEXT, id BIGINT, x NUMERIC(9, 3), updated_at TIMESTAMP, PRIMARY KEY (branch, id))"
    )
    workspace.sql(
        "INSERT INTO facts VALUES (:branch, :id, :x, '2026-01-01 00:00:00')",
        [
            {"branch": branch, "id": number, "x": number / 100 if branch == "a" else None}
            for branch, count in (("a", 200), ("b", 300))
            for number in range(count)
        ],
    )
    workspace.write_job("facts", JOB)
    workspace.upgrade()
    sample = pd.DataFrame({"x": [0.0, 1.0, 0.25, 0.75]})
    model = make_pipeline(SimpleImputer(), LogisticRegression()).fit(sample, ["0", "1", "0", "1"])
    workspace.register(model, sample, name="any")
    return workspace


def _why(workspace: Workspace, key: str) -> dict[str, Any]:
    found: dict[str, Any] = workspace.cli_json("why", "facts", key)
    return found


def test_why_names_the_run_whose_failing_chunk_holds_the_key_and_no_other(facts: Workspace) -> None:
    with pytest.raises(EveryRowFailed):
        facts.run("facts")
    recorded = facts.scalar("SELECT failed_keys FROM scoring_runs WHERE run_id = 1")
    recorded = json.loads(recorded) if isinstance(recorded, str) else recorded
    assert recorded == {"first": ["b", 0], "last": ["b", 199], "rows": 200}

    inside = _why(facts, "branch=b,id=42")
    assert [(run["run_id"], run["failed_rows"]) for run in inside["failed_runs"]] == [(1, 200)]
    assert inside["failed_runs"][0]["error_type"] == "EveryRowFailed"
    assert "its chunk failed in run 1: " in inside["explanation"]
    printed = facts.cli("why", "facts", "branch=b,id=42").stdout
    assert "runs that failed while it was due" in printed

    assert _why(facts, "branch=b,id=0")["failed_runs"], "the first key is inside"
    assert _why(facts, "branch=b,id=199")["failed_runs"], "and so is the last"
    assert _why(facts, "branch=b,id=200")["failed_runs"] == [], "the run did not come to it"
    scored = _why(facts, "branch=a,id=7")
    assert (scored["state"], scored["failed_runs"]) == ("scored", [])


def test_why_names_runs_that_failed_as_a_whole_while_the_row_was_due_and_none_before(facts: Workspace) -> None:
    facts.sql("DELETE FROM facts WHERE branch = 'b'")
    facts.sql("ALTER TABLE facts RENAME TO elsewhere")
    with pytest.raises(SourceFault):
        facts.run("facts")
    facts.sql("ALTER TABLE elsewhere RENAME TO facts")
    facts.run("facts")
    facts.sql("UPDATE facts SET updated_at = '2026-02-02 00:00:00' WHERE id = 3")
    assert _why(facts, "branch=a,id=3")["failed_runs"] == []

    facts.sql("ALTER TABLE facts RENAME TO elsewhere")
    with pytest.raises(SourceFault):
        facts.run("facts")
    facts.sql("ALTER TABLE elsewhere RENAME TO facts")

    answer = _why(facts, "branch=a,id=3")
    assert [(run["run_id"], run["failed_rows"]) for run in answer["failed_runs"]] == [(3, None)]
    assert "run 3 ended without scoring it: SourceFault, " in answer["explanation"]
    assert _why(facts, "branch=a,id=4")["failed_runs"] == [], "it was not due"

    facts.sql("UPDATE facts SET updated_at = '2999-01-01 00:00:00' WHERE id = 3")
    assert _why(facts, "branch=a,id=3")["failed_runs"] == [], "the row changed since"

    facts.run("facts")
    assert _why(facts, "branch=a,id=3")["failed_runs"] == []
