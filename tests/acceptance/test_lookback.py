"""Lookback runs look at what changed lately; sweeps look at everything, find what lookback cannot, and lose nothing."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from conftest import prepare_loans
from support import LOAN_JOB, Workspace

from batch_scoring.domain.runs import Run
from batch_scoring.errors import ArtifactChanged, EveryRowFailed, SourceFault
from batch_scoring.model.training import TrainedModel

CHANGED_AT = 'changed_at = "updated_at"   # a changed row is scored again'
LOOKBACK_JOB = LOAN_JOB.replace(CHANGED_AT, 'changed_at = "edited_at"\nlookback = "2 days"\nsweep = "1 day"')
ALL = 367

FEATURES = ", ".join(
    f'"{name}"'
    for name in (
        "Gender",
        "Married",
        "Dependents",
        "Education",
        "Self_Employed",
        "ApplicantIncome",
        "CoapplicantIncome",
        "LoanAmount",
        "Loan_Amount_Term",
        "Credit_History",
        "Property_Area",
    )
)


@pytest.fixture
def lookback(workspace: Workspace, loan_model: TrainedModel) -> Workspace:
    """The 367 applicants, all of them changed just now, and a job that looks two days back and sweeps once a day."""
    return _prepared(workspace, loan_model)


@pytest.fixture
def sqlite_lookback(sqlite_workspace: Workspace, loan_model: TrainedModel) -> Workspace:
    return _prepared(sqlite_workspace, loan_model)


@pytest.fixture
def postgresql_lookback(postgresql_workspace: Workspace, loan_model: TrainedModel) -> Workspace:
    return _prepared(postgresql_workspace, loan_model)


def _prepared(workspace: Workspace, model: TrainedModel, *, ddl: str | None = None) -> Workspace:
    """Ready to run, with a changed_at that may be NULL."""
    ddl = ddl or workspace.words.timestamp
    prepare_loans(workspace, model, job=LOOKBACK_JOB)
    workspace.sql(f"ALTER TABLE applicants ADD COLUMN edited_at {ddl}")
    workspace.sql("UPDATE applicants SET edited_at = updated_at")
    workspace.upgrade()
    return workspace


def _ago(workspace: Workspace, hours: int) -> str:
    """SQL for a moment in the past, by the database's clock."""
    return workspace.words.hours_ago(hours)


def _added(key: str, changed_at: str) -> str:
    """SQL that adds an applicant like the first one."""
    return (
        f'INSERT INTO applicants ("Loan_ID", {FEATURES}, updated_at, edited_at)'
        f" SELECT '{key}', {FEATURES}, updated_at, {changed_at}"
        " FROM applicants WHERE \"Loan_ID\" = 'LP001015'"
    )


def _add(workspace: Workspace, key: str, *, hours_ago: int | None) -> None:
    workspace.sql(_added(key, "NULL" if hours_ago is None else _ago(workspace, hours_ago)))


def _change(workspace: Workspace, *keys: str, hours_ago: int = 0) -> None:
    listed = ", ".join(f"'{key}'" for key in keys)
    workspace.sql(
        f'UPDATE applicants SET "ApplicantIncome" = "ApplicantIncome" + 1, edited_at = {_ago(workspace, hours_ago)}'
        f' WHERE "Loan_ID" IN ({listed})'
    )


def _let_pass(workspace: Workspace, hours: int) -> None:
    """Move every run back, as if it had been so long ago."""
    moved = workspace.words.hours_before.format(time="started_at", hours=hours)
    workspace.sql(f"UPDATE scoring_runs SET started_at = {moved}")


def _found(run: Run) -> tuple[Any, ...]:
    return run.mode, run.due_count, run.scored_count, run.sweep_only_count


def _is_predicted(workspace: Workspace, key: str) -> bool:
    count = workspace.scalar('SELECT count(*) FROM predictions_current WHERE "Loan_ID" = :key', key=key)
    return bool(count)


def _assert_each_applicant_has_one_current_prediction_of_its_present_version(workspace: Workspace) -> None:
    """Lost 0, doubled 0, also where the version is NULL."""
    current = (
        'SELECT count(*) FROM predictions p WHERE p."Loan_ID" = s."Loan_ID"'
        " AND p.source_changed_at IS NOT DISTINCT FROM s.edited_at"
    )
    assert workspace.query(f'SELECT s."Loan_ID" FROM applicants s WHERE ({current}) <> 1') == []
    counted = "SELECT (SELECT count(*) FROM predictions_current), (SELECT count(*) FROM applicants)"
    ((predictions, applicants),) = workspace.query(counted)
    assert predictions == applicants


def test_the_first_run_sweeps_and_those_after_it_look_back(lookback: Workspace) -> None:
    first, second, third = lookback.run(), lookback.run(), lookback.run()

    assert _found(first) == ("sweep", ALL, ALL, 0)
    assert _found(second) == _found(third) == ("lookback", 0, 0, 0)
    _assert_each_applicant_has_one_current_prediction_of_its_present_version(lookback)


def test_a_job_without_lookback_sweeps_each_time(loan_workspace: Workspace) -> None:
    assert [loan_workspace.run().mode for _ in range(2)] == ["sweep", "sweep"]


def test_a_lookback_run_scores_what_is_new_and_supersedes_what_changed_within_its_window(lookback: Workspace) -> None:
    lookback.run()
    _add(lookback, "NOW", hours_ago=0)
    _add(lookback, "IN THE WINDOW", hours_ago=47)
    _change(lookback, "LP001015", "LP001022")
    _change(lookback, "LP001031", hours_ago=47)

    run = lookback.run()

    assert _found(run) == ("lookback", 5, 5, 0)
    assert run.superseded_count == 3
    _assert_each_applicant_has_one_current_prediction_of_its_present_version(lookback)


@pytest.mark.slow
def test_what_was_changed_before_the_window_waits_for_the_sweep_which_counts_it(lookback: Workspace) -> None:
    lookback.run()
    _add(lookback, "OLDER", hours_ago=49)
    _add(lookback, "WITHOUT A MOMENT", hours_ago=None)
    _change(lookback, "LP001015", hours_ago=72)

    assert _found(lookback.run()) == ("lookback", 0, 0, 0)
    assert not _is_predicted(lookback, "OLDER")
    assert not _is_predicted(lookback, "WITHOUT A MOMENT")

    _let_pass(lookback, 25)
    _change(lookback, "LP001022", "LP001031")
    sweep = lookback.run()

    assert _found(sweep) == ("sweep", 5, 5, 3)
    assert sweep.superseded_count == 3
    assert _found(lookback.run()) == ("lookback", 0, 0, 0)
    _assert_each_applicant_has_one_current_prediction_of_its_present_version(lookback)


@pytest.mark.slow
def test_a_row_committed_after_the_sweep_that_could_not_see_it_is_found_by_the_next(
    postgresql_lookback: Workspace,
) -> None:
    workspace = postgresql_lookback
    with workspace.database() as database, database.write() as late:
        late.execute(sa.text(_added("AA000001", _ago(workspace, 60))))
        assert _found(workspace.run()) == ("sweep", ALL, ALL, 0)
    assert _found(workspace.run()) == ("lookback", 0, 0, 0)

    _let_pass(workspace, 24)

    assert _found(workspace.run()) == ("sweep", 1, 1, 1)
    _assert_each_applicant_has_one_current_prediction_of_its_present_version(workspace)


def test_a_sweep_is_due_when_the_last_one_began_the_stated_period_ago(lookback: Workspace) -> None:
    modes = [lookback.run().mode]
    for hours in (23, 1, 12, 11, 2):
        _let_pass(lookback, hours)
        modes.append(lookback.run().mode)

    assert modes == ["sweep", "lookback", "sweep", "lookback", "lookback", "sweep"]


@pytest.mark.slow
def test_a_sweep_that_failed_does_not_count(lookback: Workspace) -> None:
    lookback.sql('UPDATE applicants SET "LoanAmount" = -1')
    for _ in range(2):
        with pytest.raises(EveryRowFailed):
            lookback.run()
    lookback.sql('UPDATE applicants SET "LoanAmount" = 100')
    assert _found(lookback.run()) == ("sweep", ALL, ALL, 0)

    _let_pass(lookback, 25)
    _add(lookback, "OLDER", hours_ago=49)
    _change(lookback, "LP001015")
    (artifact,) = lookback.artifacts_dir.rglob("*.joblib")
    content = artifact.read_bytes()
    artifact.write_bytes(content + b"x")
    with pytest.raises(ArtifactChanged):
        lookback.run()
    artifact.write_bytes(content)

    assert _found(lookback.run()) == ("sweep", 2, 2, 1)
    assert [mode for (mode,) in lookback.query("SELECT mode FROM scoring_runs")] == ["sweep"] * 5
    _assert_each_applicant_has_one_current_prediction_of_its_present_version(lookback)


def test_a_sweep_that_was_abandoned_does_not_count(lookback: Workspace) -> None:
    lookback.run()
    lookback.sql("UPDATE scoring_runs SET status = 'abandoned'")

    assert lookback.run().mode == "sweep"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("statement", "old", "new", "due"),
    [
        ("", "[model]", 'where = "\\"ApplicantIncome\\" >= 0"\n[model]', 0),
        ("ALTER TABLE applicants RENAME TO clients", '"applicants"', '"clients"', 0),
        ("ALTER TABLE applicants RENAME COLUMN edited_at TO seen_at", '"edited_at"', '"seen_at"', 0),
        ("", 'table = "predictions"', 'table = "other_predictions"', ALL),
    ],
    ids=["where", "table", "changed_at", "predictions table"],
)
def test_a_job_that_asks_something_else_sweeps_first_and_so_does_its_way_back(
    lookback: Workspace, statement: str, old: str, new: str, due: int
) -> None:
    lookback.run()
    assert lookback.run().mode == "lookback"

    if statement:
        lookback.sql(statement)
    changed = LOOKBACK_JOB.replace(old, new, 1)
    assert changed != LOOKBACK_JOB
    lookback.write_job("loan_eligibility", changed)

    assert _found(lookback.run()) == ("sweep", due, due, 0)
    assert _found(lookback.run()) == ("lookback", 0, 0, 0)
    if not statement:
        lookback.write_job("loan_eligibility", LOOKBACK_JOB)
        assert _found(lookback.run()) == ("sweep", 0, 0, 0)


@pytest.mark.slow
def test_rows_that_a_new_condition_lets_in_are_found_though_they_are_older_than_the_window(
    lookback: Workspace,
) -> None:
    lookback.sql(f"UPDATE applicants SET edited_at = {_ago(lookback, 72)}")
    narrow = LOOKBACK_JOB.replace("[model]", 'where = "\\"Property_Area\\" = \'Urban\'"\n[model]', 1)
    lookback.write_job("loan_eligibility", narrow)
    urban = lookback.run().scored_count
    assert 0 < urban < ALL

    lookback.write_job("loan_eligibility", LOOKBACK_JOB)

    assert _found(lookback.run()) == ("sweep", ALL - urban, ALL - urban, ALL - urban)
    _assert_each_applicant_has_one_current_prediction_of_its_present_version(lookback)


@pytest.mark.slow
def test_a_change_of_how_rows_are_scored_asks_for_no_sweep(lookback: Workspace) -> None:
    lookback.run()
    for old, new in [
        ("threshold = 0.5", "threshold = 0.6"),
        ("# chunk_rows = 50000", "chunk_rows = 10"),
        ('lookback = "2 days"', 'lookback = "3 days"'),
        ('sweep = "1 day"', 'sweep = "2 days"'),
    ]:
        changed = LOOKBACK_JOB.replace(old, new)
        assert changed != LOOKBACK_JOB
        lookback.write_job("loan_eligibility", changed)
        assert lookback.run().mode == "lookback"


@pytest.mark.slow
def test_another_job_s_sweep_does_not_count(lookback: Workspace) -> None:
    lookback.run()
    other = LOOKBACK_JOB.replace('table = "predictions"', 'table = "other_predictions"')
    lookback.write_job("other", other)

    assert lookback.run("other").mode == "sweep"
    assert lookback.run().mode == "lookback"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ddl", "before"),
    [("DATE", 73), ("TIMESTAMP WITHOUT TIME ZONE", 49), ("TIMESTAMP WITH TIME ZONE", 49)],
)
def test_every_type_of_timestamp_is_compared_in_utc_whatever_the_zone_of_the_database(
    postgresql_workspace: Workspace, loan_model: TrainedModel, ddl: str, before: int
) -> None:
    workspace = postgresql_workspace
    name = sa.make_url(workspace.database_url).database
    workspace.sql(f"ALTER DATABASE {name} SET TimeZone = 'Pacific/Kiritimati'")
    _prepared(workspace, loan_model, ddl=ddl)
    assert _found(workspace.run()) == ("sweep", ALL, ALL, 0)

    _add(workspace, "WITHIN", hours_ago=47)
    _add(workspace, "BEFORE", hours_ago=before)
    _add(workspace, "WITHOUT", hours_ago=None)
    assert _found(workspace.run()) == ("lookback", 1, 1, 0)
    assert _is_predicted(workspace, "WITHIN")
    _let_pass(workspace, 25)

    assert _found(workspace.run()) == ("sweep", 2, 2, 2)
    _assert_each_applicant_has_one_current_prediction_of_its_present_version(workspace)


@pytest.mark.slow
def test_lookback_over_a_column_of_numbers_is_refused_by_its_name(lookback: Workspace) -> None:
    lookback.sql("ALTER TABLE applicants ADD COLUMN edition INTEGER")
    lookback.write_job("loan_eligibility", LOOKBACK_JOB.replace('"edited_at"', '"edition"'))

    with pytest.raises(SourceFault, match="lookback needs timestamps in edition, which is INTEGER"):
        lookback.run()
    ran, checked = lookback.cli("run", "loan_eligibility"), lookback.cli("check")

    assert (ran.returncode, checked.returncode) == (2, 2)
    assert "lookback needs timestamps in edition" in ran.stderr
    assert "lookback needs timestamps in edition" in checked.stdout
    assert "Traceback" not in ran.stderr + checked.stderr
    assert lookback.scalar("SELECT count(*) FROM predictions") == 0


@pytest.mark.slow
def test_workers_look_back_like_one_process_and_leave_the_rest_to_the_sweep(postgresql_lookback: Workspace) -> None:
    lookback = postgresql_lookback
    lookback.write_job("loan_eligibility", LOOKBACK_JOB.replace("# chunk_rows = 50000", "chunk_rows = 20"))
    lookback.run()
    keys = [key for (key,) in lookback.query('SELECT "Loan_ID" FROM applicants ORDER BY "Loan_ID"')]
    _change(lookback, *keys[::3])
    _change(lookback, *keys[1::3], hours_ago=72)

    looked_back = lookback.run(workers=2)
    _let_pass(lookback, 25)
    swept = lookback.run()

    within, before = len(keys[::3]), len(keys[1::3])
    assert _found(looked_back) == ("lookback", within, within, 0)
    assert _found(swept) == ("sweep", before, before, before)
    assert (looked_back.superseded_count, swept.superseded_count) == (within, before)
    _assert_each_applicant_has_one_current_prediction_of_its_present_version(lookback)


@pytest.mark.slow
def test_the_command_line_claims_no_more_than_where_it_looked(sqlite_lookback: Workspace) -> None:
    workspace = sqlite_lookback
    workspace.run()

    looked_back = workspace.cli("run", "loan_eligibility")
    assert looked_back.returncode == 0
    assert looked_back.stdout == (
        "run 2 of loan_eligibility: nothing that changed within the lookback window was due\n"
    )
    assert "up to date" not in looked_back.stdout + looked_back.stderr

    _let_pass(workspace, 25)
    swept = workspace.cli("run", "loan_eligibility")
    assert swept.stdout == "run 3 of loan_eligibility: nothing was due\n"

    _let_pass(workspace, 25)
    _add(workspace, "OLDER", hours_ago=49)
    _add(workspace, "NOW", hours_ago=0)
    found = workspace.cli("run", "loan_eligibility")
    assert "2 read, 2 scored" in found.stdout
    assert found.stdout.endswith("; 1 of them were due outside the lookback window\n")


@pytest.mark.slow
def test_the_records_of_runs_say_where_they_looked(lookback: Workspace) -> None:
    lookback.run()
    _add(lookback, "OLDER", hours_ago=49)
    lookback.run()
    _let_pass(lookback, 25)
    swept = lookback.cli_json("run", "loan_eligibility")
    expected = [("sweep", 0), ("lookback", 0), ("sweep", 1)]

    assert (swept["mode"], swept["sweep_only_count"]) == expected[-1]
    listed = lookback.cli_json("runs", "list")
    assert [(run["mode"], run["sweep_only_count"]) for run in reversed(listed)] == expected
    assert lookback.query("SELECT mode, sweep_only_count FROM run_history ORDER BY run_id") == expected
