"""Records of runs, promotions and holds: what the database refuses to each login, and what a verification finds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from conftest import prepare_loans
from forgeries import ENDED, FORGERIES, started_run
from logins import KEPT, NAME, SOME, Granted, answer, command, session
from psycopg2 import errors as refusals
from support import Workspace

from batch_scoring.domain.job import Job
from batch_scoring.errors import AnotherRunActive, BatchScoringError
from batch_scoring.model.training import TrainedModel
from batch_scoring.scoring.runner import RunOptions, run_job
from batch_scoring.store.runs import chain
from batch_scoring.store.runs.claim import Claim

_REFUSED = (refusals.InsufficientPrivilege, refusals.ObjectNotInPrerequisiteState)


def _refusal(workspace: Workspace, *statements: str) -> str | None:
    """How the last of some statements of one transaction is refused; None if it is not. Nothing is kept."""
    with session(workspace) as cursor:
        cursor.execute("BEGIN")
        for statement in statements[:-1]:
            cursor.execute(statement)
        try:
            cursor.execute(statements[-1])
        except _REFUSED as exc:
            return str(exc)
        finally:
            cursor.execute("ROLLBACK")
    return None


@pytest.mark.parametrize("role", ["scorer", "operator"])
def test_records_are_not_forged_by_those_who_write_them(granted: Granted, role: str) -> None:
    user = granted.by(role)
    accepted = [what for what, statements in FORGERIES.items() if _refusal(user, *statements) is None]
    assert accepted == []
    assert _refusal(user, started_run()) is None, "a run that starts is recorded"


def test_the_database_records_the_login_itself(granted: Granted) -> None:
    scorer = granted.by("scorer")
    scorer.run(requested_by="chief risk officer")

    assert granted.owner.query("SELECT requested_by, database_user FROM scoring_runs WHERE run_id = 2") == [
        ("chief risk officer", granted.user("scorer"))
    ]
    shown = scorer.cli_json("runs", "show", "2")
    assert shown["database_user"] == granted.user("scorer")
    operator = granted.by("operator")
    command(operator, "model", "promote", NAME, "1", "--alias", "challenger")
    command(operator, "hold", "add", NAME, "--key", "LP001015", "--reason", "a dispute")
    command(granted.by("operator"), "hold", "remove", "1")
    login = (granted.user("operator"),)
    assert granted.owner.query("SELECT database_user FROM model_promotions WHERE alias = 'challenger'") == [login]
    assert granted.owner.query("SELECT database_user FROM legal_holds") == [login]
    assert granted.owner.query("SELECT removed_by_database_user FROM legal_holds") == [login]
    assert _refusal(operator, "UPDATE legal_holds SET removed_at = NULL, removed_by = NULL") is not None


# --- legal holds


def test_rows_on_hold_are_deleted_by_nobody(granted: Granted) -> None:
    operator, owner = granted.by("operator"), granted.owner
    granted.by("scorer").run()
    held = owner.query("""SELECT "Loan_ID" FROM predictions_superseded ORDER BY "Loan_ID" LIMIT 2""")
    command(operator, "hold", "add", NAME, "--key", held[0][0], "--reason", "a dispute")
    purge = started_run(trigger="purge", job=NAME)
    assert "kept as they were" in str(_refusal(owner, "DELETE FROM predictions_superseded"))
    for user in (operator, owner):
        for table in ("predictions_superseded", "predictions_inputs"):
            delete = f"""DELETE FROM {table} WHERE "Loan_ID" = '{{}}'"""
            assert "legal hold" in str(_refusal(user, purge, delete.format(held[0][0])))
            assert _refusal(user, purge, "SET datestyle = 'German'", delete.format(held[0][0])) is not None
            assert _refusal(user, purge, delete.format(held[1][0])) is None

    command(operator, "hold", "add", NAME, "--run", "1", "--reason", "an audit")
    assert "legal hold" in str(_refusal(operator, purge, "DELETE FROM predictions_superseded"))
    command(operator, "purge", NAME, "--superseded-before", "2100-01-01", "--reason", "old", "--yes")
    assert owner.scalar("SELECT count(*) FROM predictions_superseded") == SOME
    command(operator, "hold", "remove", "2")
    command(operator, "purge", NAME, "--superseded-before", "2100-01-01", "--reason", "old", "--yes")
    assert owner.query("""SELECT "Loan_ID" FROM predictions_superseded""") == [held[0]]


def test_sqlite_keeps_rows_on_hold(sqlite_workspace: Workspace, loan_model: TrainedModel) -> None:
    workspace = prepare_loans(sqlite_workspace, loan_model, job=KEPT)
    workspace.run()
    workspace.sql("UPDATE applicants SET updated_at = '2100-01-01 00:00:00'")
    workspace.run()
    command(workspace, "hold", "add", NAME, "--key", "LP001015", "--reason", "a dispute")
    workspace.sql(started_run(trigger="purge").replace("clock_timestamp()", "'2026-01-01 00:00:00'"))
    for table in ("predictions_superseded", "predictions_inputs"):
        with pytest.raises(BatchScoringError, match="legal hold"):
            workspace.sql(f"""DELETE FROM {table} WHERE "Loan_ID" = 'LP001015'""")
        workspace.sql(f"""DELETE FROM {table} WHERE "Loan_ID" = 'LP001022'""")


# --- the chain


def _verified(workspace: Workspace) -> dict[str, str | None]:
    with workspace.database() as database:
        return {one.chain: one.problem for one in chain.verify(database)}


def test_ended_runs_and_promotions_are_verified(workspace: Workspace, loan_model: TrainedModel) -> None:
    prepare_loans(workspace, loan_model)
    for _ in range(3):
        workspace.run()
    job: Job = workspace.job()
    with workspace.database() as database:
        limit = job.run.stalled_after
        Claim(database=database, job=job.name, job_config={}, environment={}, stalled_after=limit).execute()
        with pytest.raises(AnotherRunActive):
            run_job(database, job, workspace.artifacts_dir, options=RunOptions())
    code, printed = answer(workspace, "runs", "verify", "--json")
    assert code == 0
    found = {one["chain"]: one["links"] for one in workspace.cli_json("runs", "verify")["chains"]}
    assert found == {f"job:{NAME}": 4, f"model:{NAME}": 1}, "the running run is not recorded yet"
    assert f"job:{NAME}" in printed


ALTERED: dict[str, tuple[str, str]] = {
    "altered": ("UPDATE scoring_runs SET requested_by = 'nobody' WHERE run_id = 2", "run 2 was altered"),
    "a count": ("UPDATE scoring_runs SET scored_count = scored_count + 1 WHERE run_id = 1", "run 1 was altered"),
    "a time": ("UPDATE scoring_runs SET started_at = heartbeat_at WHERE run_id = 3", "run 3 was altered"),
    "deleted": (
        (
            "DELETE FROM scoring_chunks WHERE run_id = 2; DELETE FROM scoring_profiles WHERE run_id = 2;"
            " DELETE FROM monitoring_limits WHERE run_id = 2; DELETE FROM drift_metrics WHERE run_id = 2;"
            " DELETE FROM drift_reports WHERE run_id = 2;"
            " DELETE FROM scoring_runs WHERE run_id = 2"
        ),
        "run 2 is gone",
    ),
    "a deleted link": ("DELETE FROM record_chain WHERE number = 2 AND chain LIKE 'job:%'", "link 2 is missing"),
    "the last link": ("DELETE FROM record_chain WHERE number = 3 AND chain LIKE 'job:%'", "run 3 is in no link"),
    "a replaced digest": ("UPDATE record_chain SET digest = hash WHERE number = 2", "link 2, of run 2, was altered"),
    "a promotion": ("UPDATE model_promotions SET promoted_by = 'nobody'", "promotion champion 1 of model"),
    "a deleted promotion": ("DELETE FROM model_promotions", "promotion champion 1 of model"),
    "an inserted run": ("", "is in no link"),
}
"""What an owner of the tables may do, and what a verification says of it."""


@pytest.mark.parametrize("name", ALTERED)
def test_what_was_altered_is_named(name: str, workspace: Workspace, loan_model: TrainedModel) -> None:
    prepare_loans(workspace, loan_model)
    for _ in range(3):
        workspace.run()
    heads = [one["hash"] for one in workspace.cli_json("runs", "verify")["chains"]]
    assert answer(workspace, "runs", "verify", *(part for head in heads for part in ("--expect", head)))[0] == 0
    statements, said = ALTERED[name]
    inserted = started_run(job=NAME, status="succeeded", **ENDED).replace("clock_timestamp()", "'2026-01-01 00:00:00'")
    for statement in (statements or inserted).split("; "):
        workspace.sql(statement)

    problems = [problem for problem in _verified(workspace).values() if problem is not None]
    assert len(problems) == 1
    assert said in problems[0]
    code, printed = answer(workspace, "runs", "verify")
    assert code == 1
    assert said in printed


def test_a_chain_that_was_computed_again_lacks_the_hash_that_was_noted(
    workspace: Workspace, loan_model: TrainedModel
) -> None:
    prepare_loans(workspace, loan_model)
    workspace.run()
    (noted,) = [one["hash"] for one in workspace.cli_json("runs", "verify", NAME)["chains"]]
    workspace.sql("UPDATE scoring_runs SET requested_by = 'nobody'")
    workspace.sql("DELETE FROM record_chain WHERE chain LIKE 'job:%'")
    with workspace.database() as database, database.write() as connection:
        chain.append_run(connection, 1)

    assert answer(workspace, "runs", "verify")[0] == 0
    code, printed = answer(workspace, "runs", "verify", "--expect", noted)
    assert (code, f"--expect {noted}" in printed) == (1, True)


# --- roles that are refused, and the privileges of a live database


@contextmanager
def _spoiled(granted: Granted, statement: str, undo: str) -> Iterator[None]:
    granted.administrate(statement)
    try:
        yield
    finally:
        granted.administrate(undo)


BAD_ROLES: dict[str, tuple[str, str, str]] = {
    "a login": ("ALTER ROLE scorer LOGIN", "ALTER ROLE scorer NOLOGIN", "can log in"),
    "a superuser": ("ALTER ROLE operator SUPERUSER", "ALTER ROLE operator NOSUPERUSER", "special attribute"),
    "an owner": (
        "ALTER TABLE predictions OWNER TO scorer",
        "ALTER TABLE predictions OWNER TO postgres",
        "owns tables",
    ),
    "a member": ("GRANT scorer TO bi_reader", "REVOKE scorer FROM bi_reader", "is a member of scorer"),
}


@pytest.mark.parametrize("name", BAD_ROLES)
def test_a_role_that_can_do_more_is_not_adopted(name: str, granted: Granted) -> None:
    spoil, undo, said = BAD_ROLES[name]
    printed = command(granted.owner, "db", "roles")
    with _spoiled(granted, spoil, undo):
        with pytest.raises(refusals.RaiseException, match=r"rename that role|revoke that membership"):
            granted.administrate(printed)
        code, found = answer(granted.owner, "db", "roles", "--verify")
        assert (code, said in found) == (1, True)
        assert said in command(granted.owner, "check")
    granted.administrate(printed)
    assert "as `db roles` grants them" in command(granted.owner, "db", "roles", "--verify")


def test_an_operator_cannot_become_a_scorer(granted: Granted) -> None:
    granted.administrate("GRANT scorer TO operator")  # as an earlier version did
    granted.administrate(command(granted.owner, "db", "roles"))
    with session(granted.by("operator")) as cursor, pytest.raises(refusals.InsufficientPrivilege):
        cursor.execute("SET ROLE scorer")


DIFFERENCES: dict[str, tuple[str, str]] = {
    "too much": ("GRANT UPDATE ON scoring_runs TO scorer", "scorer has UPDATE on scoring_runs"),
    "a column": ("GRANT UPDATE (requested_by) ON scoring_runs TO operator", "scoring_runs (requested_by)"),
    "for everybody": ("GRANT SELECT ON predictions TO PUBLIC", "PUBLIC has SELECT on predictions"),
    "too little": ("REVOKE INSERT ON scoring_chunks FROM scorer", "scorer lacks INSERT on scoring_chunks"),
    "a view": ("REVOKE SELECT ON predictions_current FROM bi_reader", "bi_reader lacks SELECT on predictions_current"),
    "a function": ("GRANT EXECUTE ON FUNCTION predictions_gone() TO scorer", "function predictions_gone()"),
    "a schema": (
        "GRANT CREATE ON SCHEMA public TO PUBLIC",
        "others than its owner may create objects in schema public",
    ),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_what_is_wrong_with_the_privileges_is_named(name: str, granted: Granted) -> None:
    statement, said = DIFFERENCES[name]
    granted.administrate(statement)

    code, found = answer(granted.owner, "db", "roles", "--verify")
    assert (code, said in found) == (1, True)
    assert ("REVOKE CREATE" in command(granted.owner, "check")) == (name == "a schema")

    granted.administrate(command(granted.owner, "db", "roles"))
    assert "as `db roles` grants them" in command(granted.owner, "db", "roles", "--verify")


def test_sqlite_has_no_roles_to_verify(sqlite_workspace: Workspace, loan_model: TrainedModel) -> None:
    code, said = answer(prepare_loans(sqlite_workspace, loan_model), "db", "roles", "--verify")
    assert (code, "no roles" in said) == (2, True)
