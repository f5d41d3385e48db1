"""Five logins: what each does, and what none of them may do. The matrix is in ``docs/security.md``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import pytest
from forgeries import FORGERIES, started_run
from logins import Granted, session
from psycopg2 import errors as refusals
from support import REPOSITORY, documented

Statements: TypeAlias = tuple[str, ...]

_VERSION = """INSERT INTO model_versions
  (name, version, artifact_uri, artifact_sha256, manifest, created_at, created_by)
  VALUES ('other', 1, 'u', 's', '{}', now(), 'me')"""
_PROMOTION = """INSERT INTO model_promotions
  (name, alias, number, version, promoted_at, promoted_by, is_rollback, is_forced)
  VALUES ('loan_eligibility', 'other', 1, 1, now(), 'me', false, false)"""
_HOLD = """INSERT INTO legal_holds (job, run_id, reason, created_at, created_by) VALUES ('j', 1, 'r', now(), 'me')"""

DEEDS: Mapping[str, Statements] = {
    "read current predictions": ("SELECT * FROM predictions_current",),
    "read the past": ("SELECT * FROM predictions_as_of(now())",),
    "read what runs did": ("SELECT * FROM run_history",),
    "read stored inputs": ("SELECT * FROM predictions_inputs",),
    "read the registry": ("SELECT * FROM model_versions",),
    "start a run": (started_run(),),
    "supersede a prediction now": (
        """UPDATE predictions SET score = 0.5, valid_from = clock_timestamp() WHERE "Loan_ID" = 'LP001015'""",
    ),
    "register a version": (_VERSION,),
    "promote a version": (_PROMOTION,),
    "add a legal hold": (_HOLD,),
    "purge history": (started_run(trigger="purge"), "DELETE FROM predictions_superseded"),
    "alter tables": ("ALTER TABLE predictions ADD COLUMN more INTEGER",),
}

FORBIDDEN: Mapping[str, Statements] = FORGERIES | {
    "a score changed in place": ("UPDATE predictions SET score = 0",),
    "a key changed": ("""UPDATE predictions SET "Loan_ID" = 'me'""",),
    "a deleted prediction": ("DELETE FROM predictions",),
    "history altered": ("UPDATE predictions_superseded SET score = 0",),
    "history emptied": ("TRUNCATE predictions_superseded",),
    "stored inputs altered": ("UPDATE predictions_inputs SET digest = digest",),
    "a trigger disabled": ("ALTER TABLE predictions DISABLE TRIGGER ALL",),
    "a view replaced": ("CREATE OR REPLACE VIEW run_history AS SELECT 1 AS one",),
    "a function replaced": ("DROP FUNCTION predictions_as_of(timestamptz)",),
    "a version replaced": ("UPDATE model_versions SET artifact_sha256 = ''",),
    "the reason of a hold": ("UPDATE legal_holds SET reason = ''",),
    "the applicants": ("UPDATE applicants SET updated_at = now()",),
    "the job of a table": ("UPDATE scoring_jobs SET kind = 'regression'",),
    "becoming the owner": ("SET ROLE postgres",),
}
"""What none but the owner may do, in which the last statement is the deed."""

LOGINS = ("owner", "operator", "scorer", "bi_reader", "stranger")


@pytest.fixture
def known(granted: Granted) -> Granted:
    """Logins of the three roles, and a stranger, who may create objects in the schema and nothing else."""
    stranger = granted.user("stranger")
    granted.administrate(f"CREATE ROLE {stranger} LOGIN", f"GRANT CREATE ON SCHEMA public TO {stranger}")
    return granted


def _may(granted: Granted, login: str, statements: Statements) -> bool:
    """Whether a login may execute all of the statements. Nothing of them is kept."""
    with session(granted.owner if login == "owner" else granted.by(login)) as cursor:
        cursor.execute("BEGIN")
        try:
            for statement in statements:
                cursor.execute(statement)
        except (refusals.InsufficientPrivilege, refusals.ObjectNotInPrerequisiteState):
            return False
        finally:
            cursor.execute("ROLLBACK")
    return True


def test_each_login_does_what_the_matrix_says(known: Granted) -> None:
    lines = [f"| may | {' | '.join(LOGINS)} |", f"| --- |{' --- |' * len(LOGINS)}"]
    for deed, statements in DEEDS.items():
        cells = ["yes" if _may(known, login, statements) else "no" for login in LOGINS]
        lines.append(f"| {deed} | {' | '.join(cells)} |")
    documented(REPOSITORY / "docs" / "security.md", "matrix", "\n".join(lines))


@pytest.mark.parametrize("login", LOGINS[1:])
def test_nobody_but_the_owner_does_what_is_forbidden(known: Granted, login: str) -> None:
    assert len(FORBIDDEN) >= 30
    assert [deed for deed, statements in FORBIDDEN.items() if _may(known, login, statements)] == []
