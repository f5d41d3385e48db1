"""Outcomes of the example job for tests: rows, and predictions that were made in an earlier month."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from support import Workspace

OUTCOMES = """
[outcomes]
table = "loan_outcomes"
outcome = "became"
observed_at = "observed_at"
decided_at = "decided_at"
matures_after = "30 days"
"""


def moved_to(workspace: Workspace, month: str, *, before: str | None = None) -> None:
    """Pretend that the current predictions were made in a month, and those that they superseded in ``before``."""
    start = morning(workspace, month)
    if before is not None:
        earlier = morning(workspace, before)
        workspace.rewrite(f"UPDATE predictions_superseded SET valid_from = '{earlier}', valid_to = '{start}'")
    workspace.rewrite(f"UPDATE predictions SET valid_from = '{start}'")


def morning(workspace: Workspace, month: str) -> str:
    """The first morning of a month as the database stores it."""
    return workspace.words.timestamp_text(datetime.fromisoformat(f"{month}-01 08:00:00"))


def keys(workspace: Workspace) -> list[str]:
    return [key for (key,) in workspace.query('SELECT "Loan_ID" FROM applicants ORDER BY "Loan_ID"')]


def write(workspace: Workspace, rows: list[dict[str, Any]]) -> None:
    """Write rows of outcomes: key, label, and the days of decision and observation."""
    time = workspace.words.timestamp
    columns = f'"Loan_ID" VARCHAR(40), became VARCHAR(10), decided_at {time}, observed_at {time}, at_random INTEGER'
    workspace.sql(f"CREATE TABLE IF NOT EXISTS loan_outcomes ({columns})")
    workspace.sql(
        "INSERT INTO loan_outcomes VALUES (:key, :became, :decided_at, :observed_at, :at_random)",
        [{"at_random": 0, **row} for row in rows],
    )


def outcome(key: str, became: str | None, decided: str | None, observed: str | None, **more: Any) -> dict[str, Any]:
    return {"key": key, "became": became, "decided_at": decided, "observed_at": observed, **more}
