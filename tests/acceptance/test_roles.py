"""PostgreSQL's roles: each may do what its work asks for, and is refused everything else by the database itself."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from conftest import prepare_loans
from logins import KEPT, NAME, SOME, Granted, answer, command, grant_roles, session
from psycopg2 import errors as refusals
from sklearn.linear_model import LogisticRegression
from support import PostgresServer, Workspace

from batch_scoring.errors import AccessDenied
from batch_scoring.model.training import TrainedModel
from batch_scoring.operations.rescore import plan
from batch_scoring.store.schema.views import PER_JOB, SHARED
from batch_scoring.store.source.selection import Request, Selection

ALL = 367


def not_refused(workspace: Workspace, statements: Iterable[str]) -> list[str]:
    """Those statements that a user may do. Nothing is left of what they do."""
    done = []
    with session(workspace) as cursor:
        for statement in statements:
            cursor.execute("BEGIN")
            try:
                cursor.execute(statement)
                done.append(statement)
            except (refusals.InsufficientPrivilege, refusals.ObjectNotInPrerequisiteState):
                pass  # the second is a view that nobody can write through
            cursor.execute("ROLLBACK")
    return done


CURRENT = ("predictions", "predictions_quarantine")
PAST = ("predictions_superseded", "predictions_quarantine_closed")
OF_A_JOB = (*CURRENT, *PAST, "predictions_challengers", "predictions_inputs")
OF_ALL = (
    "scoring_runs",
    "scoring_chunks",
    "scoring_profiles",
    "held_run_decisions",
    "drift_reports",
    "drift_metrics",
    "drift_alerts",
    "drift_mutes",
    "monitoring_limits",
    "outcome_readings",
    "performance_reports",
    "performance_metrics",
    "performance_bands",
    "decision_counts",
    "fairness_reports",
    "scoring_jobs",
    "model_versions",
    "model_promotions",
    "model_proposals",
    "model_archivals",
    "model_signatures",
    "mlflow_versions",
    "mlflow_resolutions",
    "legal_holds",
    "rescore_requests",
    "record_chain",
)
TABLES = (*OF_A_JOB, *OF_ALL, "alembic_version", "applicants")

ONLY_AN_OWNER = [
    *(f"DROP TABLE {table} CASCADE" for table in TABLES),
    *(f"ALTER TABLE {table} ADD COLUMN more INTEGER" for table in TABLES),
    *(f"ALTER TABLE {table} DISABLE TRIGGER ALL" for table in TABLES),
    *(f"TRUNCATE {table} CASCADE" for table in TABLES),
    *(f"DELETE FROM {table}" for table in (*OF_ALL, "alembic_version", "applicants")),
    "ALTER TABLE predictions DROP CONSTRAINT ck_predictions_score",
    "CREATE INDEX ON predictions (score)",
    "DROP VIEW predictions_current CASCADE",
    "DROP FUNCTION predictions_as_of(timestamptz)",
    "CREATE OR REPLACE VIEW run_history AS SELECT * FROM scoring_runs",
    "CREATE TABLE public.mine (id INTEGER)",
    "CREATE SCHEMA mine",
]
WHAT_WAS_PREDICTED = [
    "UPDATE predictions SET score = 0",
    "UPDATE predictions SET prediction = 'Y'",
    "UPDATE predictions SET valid_from = valid_from",
    "UPDATE predictions SET run_id = 1",
    "UPDATE predictions SET model_version = 1",
    "UPDATE predictions SET source_changed_at = NULL",
    """UPDATE predictions SET "Loan_ID" = 'me'""",
    "UPDATE predictions SET score = 0, valid_from = valid_from - interval '1 hour'",
    """UPDATE predictions SET valid_from = clock_timestamp() + interval '1 hour' * length("Loan_ID" || ctid::text)""",
    """INSERT INTO predictions SELECT * FROM predictions ON CONFLICT ("Loan_ID") DO UPDATE SET score = 0""",
    "DELETE FROM predictions",
    "TRUNCATE predictions, predictions_superseded",
    "UPDATE predictions_quarantine SET message = ''",
    "UPDATE predictions_quarantine SET reason_code = ''",
    "UPDATE predictions_quarantine SET attempts = 1",
    """UPDATE predictions_quarantine SET "Loan_ID" = 'me'""",
    "DELETE FROM predictions_quarantine",
    "TRUNCATE predictions_quarantine",
    *(f"UPDATE {table} SET valid_to = valid_to + interval '1 hour'" for table in PAST),
    *(f"UPDATE {table} SET valid_from = valid_from - interval '1 hour'" for table in PAST),
    *(f"DELETE FROM {table}" for table in PAST),
    *(f"TRUNCATE {table}" for table in PAST),
    "UPDATE predictions_superseded SET score = 0, prediction = 'Y'",
]
INPUTS_AND_VIEWS = [
    'UPDATE predictions_inputs SET "LoanAmount" = 1',
    "UPDATE predictions_inputs SET digest = digest",
    "UPDATE predictions_current SET score = 0",
    "DELETE FROM predictions_current",
]
THE_SOURCE = [
    "UPDATE applicants SET updated_at = now()",
    """INSERT INTO applicants ("Loan_ID") VALUES ('me')""",
]
RECORDS = [
    "UPDATE scoring_chunks SET scored_count = 1",
    "UPDATE scoring_profiles SET read_count = 1",
    "UPDATE held_run_decisions SET is_released = true",
    "UPDATE drift_reports SET row_count = 1",
    "UPDATE drift_metrics SET is_breach = false",
    "UPDATE drift_alerts SET message = ''",
    "UPDATE drift_mutes SET reason = ''",
    "UPDATE monitoring_limits SET rationale = ''",
    "UPDATE outcome_readings SET used_count = 1",
    "UPDATE performance_reports SET outcome_count = 1",
    "UPDATE performance_metrics SET value = 1",
    "UPDATE performance_bands SET observed = 1",
    "UPDATE decision_counts SET decision_count = 1",
    "UPDATE fairness_reports SET number = 1",
    "UPDATE model_versions SET artifact_sha256 = ''",
    "UPDATE legal_holds SET reason = ''",
    "UPDATE rescore_requests SET model_version = 1",
    "INSERT INTO scoring_jobs SELECT * FROM scoring_jobs",
    "UPDATE scoring_jobs SET kind = 'regression'",
    "UPDATE alembic_version SET version_num = '0'",
]
THE_REGISTRY = [
    "INSERT INTO model_versions SELECT * FROM model_versions",
    "INSERT INTO model_promotions SELECT * FROM model_promotions",
    "UPDATE model_promotions SET version = 1",
]
OF_OPERATORS = [
    "DELETE FROM predictions_inputs",
    "INSERT INTO predictions_superseded SELECT *, now() FROM predictions",
    "INSERT INTO rescore_requests SELECT * FROM rescore_requests",
    "INSERT INTO held_run_decisions SELECT * FROM held_run_decisions",
    "INSERT INTO drift_mutes SELECT * FROM drift_mutes",
    "UPDATE drift_mutes SET removed_at = now()",
    "INSERT INTO legal_holds SELECT * FROM legal_holds",
    "UPDATE legal_holds SET removed_at = now()",
    "SELECT * FROM legal_holds",
]


@pytest.mark.slow
def test_a_scorer_runs_the_job_and_keeps_its_inputs(granted: Granted) -> None:
    scorer = granted.by("scorer")
    command(scorer, "check")

    run = scorer.cli_json("run", NAME)

    assert (run["scored_count"], run["superseded_count"], run["quarantined_count"]) == (SOME, SOME, 0)
    assert granted.owner.scalar("SELECT count(*) FROM predictions_inputs WHERE run_id = 2") == SOME
    assert granted.owner.scalar("SELECT count(*) FROM predictions_current") == ALL - 1
    command(scorer, "status")
    command(scorer, "runs", "list")
    command(scorer, "replay", NAME, "--run", "2")
    command(scorer, "why", NAME, "LP001015")


def test_a_scorer_does_the_first_run_after_an_upgrade(
    postgresql_workspace: Workspace, loan_model: TrainedModel, postgres: PostgresServer
) -> None:
    workspace = prepare_loans(postgresql_workspace, loan_model, job=KEPT)
    command(workspace, "db", "upgrade")
    granted = grant_roles(workspace, postgres)

    assert granted.by("scorer").run().scored_count == ALL

    assert workspace.scalar("SELECT count(*) FROM predictions_inputs") == ALL
    assert granted.by("bi_reader").scalar("SELECT count(*) FROM predictions_current") == ALL


def test_a_scorer_is_refused_what_is_not_its_work(granted: Granted) -> None:
    refused = [*ONLY_AN_OWNER, *WHAT_WAS_PREDICTED, *INPUTS_AND_VIEWS]
    refused += [*THE_SOURCE, *RECORDS, *THE_REGISTRY, *OF_OPERATORS]
    scorer = granted.by("scorer")
    assert not_refused(scorer, refused) == []
    assert not_refused(scorer, ["UPDATE predictions SET valid_from = clock_timestamp()"]) == []
    one_time = (
        "UPDATE predictions SET valid_from = (SELECT max(valid_from) FROM predictions) + interval '1 microsecond'"
    )
    assert not_refused(scorer, [one_time]) != [], "what was predicted a moment ago is superseded now"

    before = granted.owner.query('SELECT * FROM predictions_history ORDER BY "Loan_ID", valid_to')
    with pytest.raises(AccessDenied, match="rescore_requests"):
        rescore(scorer)
    for arguments in (
        ("purge", NAME, "--superseded-before", "2100-01-01", "--reason", "space", "--yes"),
        ("hold", "add", NAME, "--key", "LP001015", "--reason", "a dispute"),
        ("model", "promote", NAME, "1", "--alias", "challenger"),
        ("db", "upgrade"),
    ):
        code, said = answer(scorer, *arguments)
        assert code == 1
        assert "permission denied" in said or "must be owner" in said
    assert granted.owner.query('SELECT * FROM predictions_history ORDER BY "Loan_ID", valid_to') == before


def test_not_even_the_owner_of_the_tables_changes_what_was_predicted(granted: Granted) -> None:
    granted.by("scorer").run()
    owner = granted.owner
    assert owner.scalar("SELECT count(*) FROM predictions_superseded") == SOME
    owner.sql(
        "INSERT INTO predictions_quarantine_closed SELECT q.*, clock_timestamp() FROM predictions_quarantine q"
        " WHERE valid_from < clock_timestamp()"
    )
    before = owner.query('SELECT * FROM predictions_history ORDER BY "Loan_ID", valid_to')

    assert not_refused(owner, [s for s in WHAT_WAS_PREDICTED if s != "DELETE FROM predictions_quarantine"]) == []

    assert owner.query('SELECT * FROM predictions_history ORDER BY "Loan_ID", valid_to') == before


def test_an_update_of_a_prediction_by_hand_leaves_its_old_form_in_history(granted: Granted) -> None:
    owner = granted.owner
    old = owner.query("""SELECT *, 'x' FROM predictions WHERE "Loan_ID" = 'LP001015'""")

    owner.sql("UPDATE predictions SET score = 0.5, valid_from = valid_from + interval '1 second'")

    kept = owner.query("""SELECT s.*, 'x' FROM predictions_superseded s WHERE "Loan_ID" = 'LP001015'""")
    assert [(*row[:-2], row[-1]) for row in kept] == old
    assert owner.scalar("SELECT count(*) FROM predictions_superseded") == ALL - 1


def rescore(workspace: Workspace) -> Any:
    """Score all rows again by hand."""
    with workspace.database() as database:
        planned = plan(database, workspace.job(), Request(selection=Selection()))
    return workspace.run(trigger="rescore", rescore=planned.rescore, reason="a drift")


@pytest.mark.slow
def test_an_operator_does_all_that_is_done_by_hand(granted: Granted, loan_model: TrainedModel) -> None:
    operator, owner = granted.by("operator"), granted.owner
    model, sample = owner.folder / "model.joblib", owner.folder / "sample.csv"
    joblib.dump(loan_model.pipeline, model)
    loan_model.features.to_csv(sample, index=False)
    command(operator, "check")
    command(operator, "model", "register", str(model), "--name", NAME, "--sample", str(sample))
    command(operator, "model", "promote", NAME, "2")
    assert owner.aliases() == [("champion", 2)]
    assert operator.run().scored_count == SOME

    again = operator.cli_json("rescore", NAME, "--scored-by-version", "1", "--reason", "a drift", "--yes")
    assert again["scored_count"] == ALL - 1 - SOME
    command(operator, "quarantine", "retry", NAME, "--all", "--reason", "mended")
    assert operator.run().quarantined_count == 1
    command(operator, "replay", NAME, "LP001015")
    command(operator, "replay", NAME, "--run", str(again["run_id"]))

    command(operator, "hold", "add", NAME, "--key", "LP001015", "--reason", "a dispute")
    command(operator, "hold", "add", NAME, "--run", "2", "--reason", "an audit")
    command(operator, "hold", "remove", "2")
    assert "LP001015" in command(operator, "hold", "list")
    purge = ("purge", NAME, "--superseded-before", "2100-01-01", "--inputs-before", "2100-01-01", "--reason", "old")
    command(operator, *purge, "--dry-run")
    command(operator, *purge, "--yes")
    left = owner.query("""SELECT "Loan_ID" FROM predictions_superseded""")
    assert set(left) == {("LP001015",)}
    assert owner.scalar("SELECT count(*) FROM predictions_current") == ALL - 1
    for statement in readable(granted):
        operator.query(statement)


def test_an_operator_is_refused_what_only_the_owner_does(granted: Granted) -> None:
    refused = [*ONLY_AN_OWNER, *WHAT_WAS_PREDICTED, *INPUTS_AND_VIEWS, *THE_SOURCE, *RECORDS]

    assert not_refused(granted.by("operator"), refused) == []
    assert answer(granted.by("operator"), "db", "upgrade")[0] == 1


def relations(granted: Granted, kind: str) -> list[str]:
    """The tables (r) or views (v) of the database."""
    found = granted.owner.query(
        "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = :kind AND n.nspname !~ '^pg_|^information_'",
        kind=kind,
    )
    return sorted(name for (name,) in found)


def readable(granted: Granted) -> list[str]:
    """A query for each view and function of the contract."""
    views = [f"SELECT * FROM {view}" for view in relations(granted, "v")]
    assert len(views) == len(SHARED) + len(PER_JOB)
    return [*views, "SELECT * FROM predictions_as_of('2026-06-30 12:00:00+00')"]


def test_a_reader_reads_each_view_and_function(granted: Granted) -> None:
    reader = granted.by("bi_reader")

    for statement in readable(granted):
        reader.query(statement)

    assert reader.scalar("SELECT count(*) FROM predictions_as_of(now())") == ALL - 1
    assert reader.scalar("SELECT count(*) FROM predictions_history") == ALL - 1


def test_a_reader_sees_no_table_and_writes_nothing(granted: Granted) -> None:
    tables, views = relations(granted, "r"), relations(granted, "v")
    assert len(tables) == len(TABLES)
    writes = [
        f"{verb} {relation}{rest}"
        for relation in [*tables, *views]
        for verb, rest in (("DELETE FROM", ""), ("INSERT INTO", " DEFAULT VALUES"))
    ]
    columns = [
        "UPDATE run_history SET reason = 'mine'",
        "SELECT message FROM predictions_quarantine",
        "SELECT run_id FROM scoring_runs",
        """SELECT "Loan_ID" FROM applicants""",
    ]
    others = [f"SET ROLE {role}" for role in ("scorer", "operator", "postgres")]
    sequences = ["SELECT nextval('scoring_runs_run_id_seq')", "SELECT nextval('legal_holds_hold_id_seq')"]
    reads = [f"SELECT 1 FROM {table}" for table in tables]
    refused = [*reads, *writes, *columns, *others, *sequences, *ONLY_AN_OWNER, *WHAT_WAS_PREDICTED]

    assert not_refused(granted.by("bi_reader"), refused) == []
    code, said = answer(granted.by("bi_reader"), "runs", "list")
    assert code == 1
    assert "permission denied" in said


def test_tables_in_other_schemas_with_odd_names_are_granted_and_a_job_without_tables_is_left_out(
    postgresql_workspace: Workspace, postgres: PostgresServer
) -> None:
    workspace = postgresql_workspace
    with session(workspace) as cursor:
        cursor.execute(
            """CREATE SCHEMA "Crm 1"; CREATE SCHEMA "Scores '100%'";
            CREATE TABLE "Crm 1"."it's" ("Key %" INTEGER PRIMARY KEY, x DOUBLE PRECISION);
            INSERT INTO "Crm 1"."it's" SELECT i, i FROM generate_series(1, 9) AS i"""
        )
    text = (
        '[source]\ntable = "{}"\nkey = ["Key %"]\n[model]\nname = "odd"\n'
        "[predictions]\ntable = {}\npositive_label = 'yes'\n"
    )
    workspace.write_job("later", text.format("Crm 1.nowhere", "'later'"))
    workspace.write_job("odd", text.format("Crm 1.it's", json.dumps("""Scores '100%'.Made "x" $1""")))
    workspace.upgrade()
    sample = pd.DataFrame({"x": np.arange(20.0)})
    workspace.register(LogisticRegression().fit(sample, ["no", "yes"] * 10), sample, name="odd")
    granted = grant_roles(workspace, postgres)
    prefix = """"Scores '100%'"."Made ""x"" $1"""

    assert granted.by("scorer").run("odd").scored_count == 9

    with session(granted.by("bi_reader")) as cursor:
        for view in ("current", "history", "as_of"):
            arguments = "(now())" if view == "as_of" else ""
            cursor.execute(f'SELECT count(*) FROM {prefix}_{view}"{arguments}')
            assert cursor.fetchall() == [(9,)]
        for view in ("daily", "distribution"):
            cursor.execute(f'SELECT sum(prediction_count) FROM {prefix}_{view}"')
            assert cursor.fetchall() == [(9,)]
    tables = [f'{prefix}"', f'{prefix}_quarantine"', '"Crm 1"."it\'s"']
    assert not_refused(granted.by("bi_reader"), [f"SELECT 1 FROM {table}" for table in tables]) == []
    changes = [f'UPDATE {prefix}" SET score = 0', f'DELETE FROM {prefix}"', f"""DELETE FROM {tables[2]}"""]
    assert not_refused(granted.by("scorer"), changes) == []
    assert not_refused(granted.by("operator"), changes) == []


ENABLE = "ALTER TABLE applicants ENABLE ROW LEVEL SECURITY"
URBAN = """USING ("Property_Area" = 'Urban')"""
SECURITY: dict[str, tuple[tuple[str, ...], bool]] = {
    "no policy at all": ((), True),
    "some rows": ((f"CREATE POLICY p ON applicants {URBAN}",), True),
    "some rows, or all": (
        (f"CREATE POLICY p ON applicants {URBAN}", "CREATE POLICY q ON applicants FOR SELECT USING (true)"),
        False,
    ),
    "all rows": (("CREATE POLICY p ON applicants USING (true)",), False),
    "all rows for scorers": (("CREATE POLICY p ON applicants TO scorer USING (true)",), False),
    "all rows for readers": (("CREATE POLICY p ON applicants TO bi_reader USING (true)",), True),
    "all rows to change": (("CREATE POLICY p ON applicants FOR UPDATE USING (true)",), True),
    "all rows, and none but some": (
        ("CREATE POLICY p ON applicants USING (true)", f"CREATE POLICY q ON applicants AS RESTRICTIVE {URBAN}"),
        True,
    ),
    "all rows, and some for readers": (
        (
            "CREATE POLICY p ON applicants USING (true)",
            f"CREATE POLICY q ON applicants AS RESTRICTIVE TO bi_reader {URBAN}",
        ),
        False,
    ),
    "a user whom it does not bind": (("ALTER ROLE {user} BYPASSRLS",), False),
    "the owner": (("ALTER TABLE applicants OWNER TO {user}",), False),
    "the owner, by force": (("ALTER TABLE applicants OWNER TO {user}", ENABLE.replace("ENABLE", "FORCE")), True),
}
"""Policies, and whether they may hide rows from a scorer."""


@pytest.mark.slow
def test_check_says_when_row_level_security_may_hide_rows_from_whoever_scores(granted: Granted) -> None:
    scorer = granted.by("scorer")
    assert answer(scorer, "check")[0] == 0
    for name, (statements, hides) in SECURITY.items():
        granted.administrate(ENABLE, *(statement.format(user=granted.user("scorer")) for statement in statements))

        code, said = answer(scorer, "check")

        is_said = "row-level security is active on applicants" in said
        assert (code, is_said) == ((2, True) if hides else (0, False)), name
        granted.administrate(
            "DROP POLICY IF EXISTS p ON applicants",
            "DROP POLICY IF EXISTS q ON applicants",
            "ALTER TABLE applicants DISABLE ROW LEVEL SECURITY",
            f"ALTER ROLE {granted.user('scorer')} NOBYPASSRLS",
            "ALTER TABLE applicants OWNER TO postgres",
            "ALTER TABLE applicants NO FORCE ROW LEVEL SECURITY",
        )
    granted.administrate(ENABLE, ENABLE.replace("ENABLE", "FORCE"))
    assert answer(granted.owner, "check")[0] == 0, "a superuser sees all"
