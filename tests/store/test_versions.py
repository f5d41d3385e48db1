"""A job without changed_at scores each row once and says so; a changed_at that it names later is an upgrade."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from facts import command, command_json, refused
from sklearn.linear_model import LinearRegression
from support import Workspace

from batch_scoring.errors import ConfigurationError

JOB = """
[source]
table = "customers"
key = ["id"]
{changed_at}
[model]
name = "m"
[predictions]
kind = "regression"
"""

SCORED_ONCE = "names no changed_at, so each row is scored once"


def _write_job(workspace: Workspace, changed_at: str | None = None) -> None:
    workspace.write_job("j", JOB.format(changed_at=f'changed_at = "{changed_at}"' if changed_at else ""))


@pytest.fixture
def unversioned(workspace: Workspace) -> Workspace:
    """Three customers, of whom one has no x, and a job that names no changed_at."""
    versions = f"at {workspace.words.timestamp}"
    workspace.sql(
        f"CREATE TABLE customers (id INTEGER PRIMARY KEY, x DOUBLE PRECISION, {versions}, day DATE,"
        " counter INTEGER NOT NULL, label TEXT)"
    )
    workspace.sql(
        "INSERT INTO customers SELECT id, x, '2026-01-01 00:00:00', '2026-01-01', 1, 'v007' FROM"
        " (SELECT 1 AS id, 1.0 AS x UNION ALL SELECT 2, 2.0 UNION ALL SELECT 3, NULL) AS given"
    )
    _write_job(workspace)
    sample = pd.DataFrame({"x": np.linspace(0, 6, 20)})
    workspace.upgrade()
    workspace.register(LinearRegression().fit(sample, sample.x * 2), sample, name="m")
    return workspace


def test_check_and_the_first_run_say_that_each_row_is_scored_once(unversioned: Workspace) -> None:
    assert SCORED_ONCE in command(unversioned, "check").stdout

    first, second = (command(unversioned, "run", "j") for _ in range(2))

    assert SCORED_ONCE in first.stderr
    assert SCORED_ONCE not in second.stderr


@pytest.mark.slow
def test_nothing_is_noted_where_changed_at_is_named(unversioned: Workspace) -> None:
    _write_job(unversioned, "at")
    unversioned.upgrade()

    assert SCORED_ONCE not in command(unversioned, "check").stdout
    assert SCORED_ONCE not in command(unversioned, "run", "j").stderr


def test_a_quarantined_row_is_not_promised_to_return_by_itself(unversioned: Workspace) -> None:
    unversioned.run("j")

    explanation = command_json(unversioned, "why", "j", "3")["explanation"]

    assert "when the source row changes" not in explanation
    assert "only after `batch-scoring quarantine retry j`: the job sets no changed_at" in explanation


@pytest.mark.slow
@pytest.mark.parametrize("column", ["at", "day", "counter", "label"])
def test_a_changed_at_that_is_named_later_is_an_upgrade_that_keeps_the_history(
    unversioned: Workspace, column: str
) -> None:
    unversioned.run("j")
    _write_job(unversioned, column)
    before = unversioned.query("SELECT id, score, valid_from FROM predictions ORDER BY id")
    refused(command(unversioned, "run", "j"), 2, "job j: source.changed_at: ", "run `batch-scoring db upgrade`")
    assert "job j: source.changed_at: names a column now" in command(unversioned, "check").stdout

    done = command(unversioned, "db", "upgrade")

    assert done.returncode == 0, done.stderr
    assert (
        "predictions records row versions from now on; it contains none yet, so the next run scores every row again"
        in (done.stdout)
    )
    assert unversioned.query("SELECT id, score, valid_from FROM predictions ORDER BY id") == before
    again = unversioned.run("j")
    assert (again.scored_count, again.superseded_count, again.quarantined_count) == (2, 2, 1)
    assert unversioned.run("j").read_count == 0
    changed = {"at": "'2026-01-02 00:00:00'", "day": "'2026-01-02'", "counter": "2", "label": "'007'"}[column]
    unversioned.sql(f"UPDATE customers SET x = 5, {column} = {changed} WHERE id >= 2")
    assert unversioned.run("j").scored_count == 2
    assert unversioned.run("j").read_count == 0
    assert unversioned.scalar("SELECT count(*) FROM predictions_history") == 6
    assert command(unversioned, "check").returncode == 0
    assert "records row versions" not in command(unversioned, "db", "upgrade").stdout


def test_what_was_granted_on_the_views_is_granted_after_that_upgrade(
    request: pytest.FixtureRequest, unversioned: Workspace
) -> None:
    if not unversioned.dialect.has_roles:
        pytest.skip(f"{unversioned.dialect.product} has no roles")
    role = f"reader_{abs(hash(request.node.nodeid)) % 10**8}"
    unversioned.sql(f"CREATE ROLE {role}")
    unversioned.sql(f"GRANT SELECT ON predictions_current, predictions_history TO {role} WITH GRANT OPTION")
    unversioned.sql("REVOKE ALL ON FUNCTION predictions_as_of(timestamptz) FROM PUBLIC")
    unversioned.sql(f"GRANT EXECUTE ON FUNCTION predictions_as_of(timestamptz) TO {role}")
    _write_job(unversioned, "at")

    unversioned.upgrade()

    held = (
        "SELECT has_table_privilege(:role, 'predictions_current', 'SELECT WITH GRANT OPTION'),"
        " has_table_privilege(:role, 'predictions_history', 'SELECT'),"
        " has_table_privilege(:role, 'predictions_daily', 'SELECT'),"
        " has_function_privilege(:role, 'predictions_as_of(timestamptz)', 'EXECUTE'),"
        " has_function_privilege('public', 'predictions_as_of(timestamptz)', 'EXECUTE')"
    )
    assert unversioned.query(held, role=role) == [(True, True, False, True, False)]


def test_a_changed_at_that_the_job_no_longer_names_leaves_the_tables_as_they_are(unversioned: Workspace) -> None:
    _write_job(unversioned, "at")
    unversioned.upgrade()
    unversioned.run("j")

    _write_job(unversioned)

    unversioned.upgrade()
    assert unversioned.run("j").read_count == 0
    _write_job(unversioned, "at")
    assert unversioned.run("j").read_count == 0


def test_versions_of_another_type_are_not_overwritten(unversioned: Workspace) -> None:
    _write_job(unversioned, "at")
    unversioned.upgrade()
    unversioned.run("j")
    _write_job(unversioned, "counter")

    with pytest.raises(ConfigurationError, match="counter is INTEGER, and the versions in predictions are"):
        unversioned.upgrade()
    with pytest.raises(ConfigurationError, match="cast it in a view, or name another table"):
        unversioned.run("j")
