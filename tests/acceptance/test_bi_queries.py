"""The queries BI starts from give what pandas gives, for the real applicants after two runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest
from conftest import prepare_loans
from support import REPOSITORY, PostgresServer, Workspace

from batch_scoring.model.training import TrainedModel

FILES = sorted((REPOSITORY / "sql" / "bi").glob("*.sql"))
SUNDAY, MONDAY = "2026-03-01 23:59:59.999999", "2026-03-02 00:00:00.000000"


@dataclass(frozen=True, kw_only=True)
class Scored:
    """The loan job after two runs, and what stands in its tables."""

    workspace: Workspace
    predictions: pd.DataFrame
    quarantine: pd.DataFrame
    runs: pd.DataFrame
    applicants: pd.DataFrame

    @property
    def current(self) -> pd.DataFrame:
        return self.predictions[self.predictions["is_current"]]


def plain(value: Any) -> Any:
    """A value in a form that is the same for both databases: moments as text, numbers as floats."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S.%f")
    return value


def frame(workspace: Workspace, statement: str) -> pd.DataFrame:
    """What a query gives."""
    return workspace.frame(statement).map(plain)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def scored(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, loan_model: TrainedModel
) -> Scored:
    """All applicants; then nine lose their credit history, one cannot be scored and one is new. Tests only read."""
    folder = tmp_path_factory.mktemp("bi")
    url = f"sqlite:///{folder / 'test.db'}"
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        url = server.create_database()
    workspace = prepare_loans(Workspace(folder, url), loan_model)
    workspace.run()
    some = """SELECT "Loan_ID" FROM predictions_current WHERE prediction = 'Y' ORDER BY "Loan_ID" LIMIT 9"""
    later = "updated_at = '2027-01-01 00:00:00'"
    workspace.sql(f"""UPDATE applicants SET "Credit_History" = 0, {later} WHERE "Loan_ID" IN ({some})""")
    workspace.sql(f"""UPDATE applicants SET "ApplicantIncome" = NULL, {later} WHERE "Loan_ID" = 'LP002989'""")
    columns = [column for column in workspace.frame("SELECT * FROM applicants LIMIT 1") if column != "Loan_ID"]
    others = ", ".join(f'"{column}"' for column in columns)
    workspace.sql(
        f"""INSERT INTO applicants ("Loan_ID", {others}) SELECT 'NEW', {others} FROM applicants
        WHERE "Loan_ID" = 'LP001015'"""
    )
    workspace.run()
    for parity, moment in enumerate((SUNDAY, MONDAY)):
        workspace.sql(
            f"UPDATE predictions SET valid_from = '{moment}' WHERE run_id = 1"
            f' AND CAST(substr("Loan_ID", 8, 1) AS INTEGER) % 2 = {parity}'
        )
    predictions = frame(workspace, "SELECT * FROM predictions")
    runs = frame(workspace, "SELECT * FROM scoring_runs")
    predictions = predictions.merge(runs[["run_id", "model_name", "trigger", "reason"]], on="run_id")
    predictions["is_current"] = predictions["valid_to"].str.startswith("9999")
    predictions["approved"] = predictions["prediction"] == "Y"
    return Scored(
        workspace=workspace,
        predictions=predictions,
        quarantine=frame(workspace, "SELECT * FROM predictions_quarantine"),
        runs=runs,
        applicants=frame(workspace, 'SELECT "Loan_ID", "Property_Area" AS property_area FROM applicants'),
    )


def approvals_by(rows: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """How many were decided and how many approved, by some columns and in their order."""
    grouped = rows.groupby(list(columns), as_index=False)
    return grouped.agg(
        decisions=("approved", "size"), approvals=("approved", "sum"), approval_rate=("approved", "mean")
    )


def by_week(scored: Scored) -> pd.DataFrame:
    days = pd.to_datetime(scored.predictions["valid_from"])
    mondays = (days - pd.to_timedelta(days.dt.day_of_week, unit="D")).dt.strftime("%Y-%m-%d")
    found = approvals_by(scored.predictions.assign(week=mondays), "week")
    assert found["week"].tolist()[:2] == ["2026-02-23", "2026-03-02"], "a week begins on Monday"
    return found


def changed_decisions(scored: Scored) -> pd.DataFrame:
    history = scored.predictions
    pairs = history.merge(history, on="Loan_ID", suffixes=("_old", "_new"))
    pairs = pairs[pairs["valid_to_old"] == pairs["valid_from_new"]]
    pairs = pairs[pairs["prediction_old"] != pairs["prediction_new"]].sort_values("Loan_ID")
    assert len(pairs) == 9
    assert set(pairs["prediction_new"]) == {"N"}
    columns = {
        "Loan_ID": "Loan_ID",
        "prediction_old": "was",
        "prediction_new": "became",
        "score_old": "old_score",
        "score_new": "new_score",
        "model_version_old": "old_version",
        "model_version_new": "new_version",
        "valid_from_new": "changed_at",
        "trigger_new": "trigger",
        "reason_new": "reason",
    }
    return pairs[list(columns)].rename(columns=columns)


def freshness(scored: Scored) -> pd.DataFrame:
    last = scored.runs.sort_values("run_id").iloc[-1]
    row = {
        "job": "loan_eligibility",
        "predictions_table": "predictions",
        "last_success_at": last["finished_at"],
        "complete_as_of": last["started_at"],
        "last_status": "succeeded",
    }
    return pd.DataFrame([row])


def score_distribution(scored: Scored) -> pd.DataFrame:
    bands = pd.cut(scored.current["score"].astype(float), [i / 20 for i in range(21)], right=False)
    counts = scored.current.groupby(["model_name", "model_version", bands], observed=True).size()
    found = counts.reset_index(name="prediction_count")
    found.insert(2, "score_from", [band.left for band in found["score"]])
    found.insert(3, "score_to", [band.right for band in found["score"]])
    found["share"] = found["prediction_count"] / len(scored.current)
    return found.drop(columns="score")


def set_aside(scored: Scored) -> pd.DataFrame:
    still = scored.quarantine[scored.quarantine["valid_to"].str.startswith("9999")]
    assert len(still) == 1
    found = still[["reason_code", "column_name", "valid_from"]].assign(job="loan_eligibility", open_count=1)
    found = found.rename(columns={"valid_from": "since"}).assign(latest=still["valid_from"])
    return found[["job", "reason_code", "column_name", "open_count", "since", "latest"]]


def slowest_runs(scored: Scored) -> pd.DataFrame:
    runs = scored.runs
    seconds = (pd.to_datetime(runs["finished_at"]) - pd.to_datetime(runs["started_at"])).dt.total_seconds()
    rates = (runs["scored_count"] + runs["quarantined_count"]) / seconds
    found = runs[["run_id", "job", "status", "started_at"]].assign(
        seconds=seconds, scored_count=runs["scored_count"], rows_per_second=rates
    )
    return found.sort_values("seconds", ascending=False)


EXPECTED: dict[str, Callable[[Scored], pd.DataFrame]] = {
    "approval_rate_by_model_version.sql": lambda scored: approvals_by(scored.current, "model_name", "model_version"),
    "approval_rate_by_property_area.sql": lambda scored: approvals_by(
        scored.current.merge(scored.applicants, on="Loan_ID"), "property_area"
    ),
    "approval_rate_by_week.postgresql.sql": by_week,
    "approval_rate_by_week.sqlite.sql": by_week,
    "changed_decisions.sql": changed_decisions,
    "freshness.sql": freshness,
    "score_distribution.sql": score_distribution,
    "set_aside.sql": set_aside,
    "slowest_runs.sql": slowest_runs,
}
TOLERANCES = {"approval_rate": {"abs": 0.5e-4}, "seconds": {"abs": 0.001}, "rows_per_second": {"rel": 0.05}}


@pytest.mark.parametrize("name", [file.name for file in FILES])
def test_a_query_of_the_folder_gives_what_pandas_gives(scored: Scored, name: str) -> None:
    database = "postgresql" if scored.workspace.is_postgresql else "sqlite"
    if name.count(".") > 1 and f".{database}." not in name:
        pytest.skip("the other database's")
    statement = (REPOSITORY / "sql" / "bi" / name).read_text(encoding="utf-8")
    assert statement.startswith("-- ")
    expected = EXPECTED[name](scored).reset_index(drop=True)

    found = frame(scored.workspace, statement)

    if name == "freshness.sql":
        assert 0 <= float(found.pop("seconds_since_success").iloc[0]) < 600
    assert list(found.columns) == list(expected.columns)
    assert len(found) == len(expected) > 0
    for column in found:
        tolerance = TOLERANCES.get(str(column), {"abs": 1e-12})
        for value, wanted in zip(found[column], expected[column], strict=True):
            if isinstance(wanted, int | float):
                assert float(value) == pytest.approx(wanted, **tolerance, nan_ok=True)
            else:
                assert (None if pd.isna(value) else str(value)) == (None if pd.isna(wanted) else str(wanted))


def test_the_folder_holds_the_queries_that_are_tried_here() -> None:
    assert [file.name for file in FILES] == sorted(EXPECTED)
