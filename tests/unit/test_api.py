"""The interface for Python programs is the one that is documented, and does what the commands do."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import facts
import joblib
import pytest
from api_reference import reference
from facts import COUNT, fitted, sample
from support import REPOSITORY, Workspace, documented

from batch_scoring import api
from batch_scoring.errors import InputFault


def test_the_reference_is_current() -> None:
    documented(REPOSITORY / "docs" / "api.md", "api", reference())


def test_importing_it_loads_no_scikit_learn() -> None:
    code = "import sys, batch_scoring.api; print(*sorted({'sklearn', 'pandas', 'pyarrow', 'typer'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_program_registers_runs_explains_and_rescores(sqlite_workspace: Workspace) -> None:
    workspace = facts.prepare(sqlite_workspace)
    workspace.sql("DELETE FROM record_chain")
    workspace.sql("DELETE FROM model_promotions")
    workspace.sql("DELETE FROM model_versions")
    joblib.dump(fitted(), workspace.folder / "model.joblib")
    sample().to_csv(workspace.folder / "sample.csv", index=False)
    events: list[api.Event] = []

    database = api.Database(workspace.database_url)
    job = api.load_job(workspace.jobs_dir, "facts")
    assert [one.name for one in api.load_jobs(workspace.jobs_dir)] == ["facts"]
    api.upgrade(database, [job])
    version = api.register_model(
        database,
        workspace.artifacts_dir,
        workspace.folder / "model.joblib",
        name="facts",
        sample=workspace.folder / "sample.csv",
        observers=[events.append],
    )
    run = api.run_job(database, job, workspace.artifacts_dir, observers=[events.append])
    assert (version.version, run.scored_count) == (1, COUNT)
    assert {type(event).__name__ for event in events} >= {"ModelRegistered", "RunStarted", "RunFinished"}
    assert api.evaluate_drift(database, job, run) == api.Evaluation()

    again = api.rescore(
        database, job, workspace.artifacts_dir, reason="audit", keys=[("7",), ("8",), ("7",)], requested_by="Ann"
    )
    assert (again.trigger, again.scored_count, again.requested_by, again.reason) == ("rescore", 2, "Ann", "audit")
    answer = api.explain(database, job, ("7",))
    assert (answer.state, len(answer.predictions)) == ("scored", 2)
    selections: list[tuple[dict[str, Any], int]] = [
        ({"where": ["x > 100"]}, 0),
        ({"scored_by_version": 1}, COUNT),
        ({"everything": True}, COUNT),
    ]
    for selection, count in selections:
        found = api.rescore(database, job, workspace.artifacts_dir, reason="audit", **selection)
        assert found.scored_count == count
    late = datetime(2090, 1, 1, tzinfo=UTC)
    assert api.rescore(database, job, workspace.artifacts_dir, reason="a", scored_before=late).scored_count == COUNT
    database.dispose()


@pytest.mark.parametrize(
    "selection", [{}, {"everything": True, "where": ["x > 1"]}, {"keys": [("1",)], "scored_by_version": 1}]
)
def test_exactly_one_selection_is_required(selection: dict[str, Any]) -> None:
    with pytest.raises(InputFault, match="expected one selection"):
        api.rescore(None, None, Path(), reason="r", **selection)  # type: ignore[arg-type]
    with pytest.raises(InputFault, match="reason is empty"):
        api.rescore(None, None, Path(), reason=" ", everything=True)  # type: ignore[arg-type]
