"""Groups of applicants: what is predicted for them by month, how it comes true, and who may see it."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from commands import assert_refused
from logins import Granted
from outcome_rows import OUTCOMES, keys, moved_to, outcome, write
from support import LOAN_JOB, Workspace

NAME = "loan_eligibility"
FAIRNESS = """
[fairness]
columns = ["Gender", "Married"]
fewest = 20
"""


@pytest.fixture
def scored(loan_workspace: Workspace) -> Workspace:
    """367 predictions, made in February 2026."""
    loan_workspace.write_job(NAME, LOAN_JOB + FAIRNESS)
    loan_workspace.run()
    moved_to(loan_workspace, "2026-02")
    return loan_workspace


def figures(found: Any, column: str) -> dict[str, dict[str, Any]]:
    return {one["group"]: one for one in found["groups"] if one["column"] == column}


def with_groups(workspace: Workspace) -> pd.DataFrame:
    return workspace.frame(
        'SELECT a."Loan_ID", a."Gender", p.prediction, p.score FROM applicants a JOIN predictions p'
        ' ON p."Loan_ID" = a."Loan_ID" ORDER BY a."Loan_ID"'
    )


def test_rates_of_groups_are_those_of_pandas_and_are_recorded_once(scored: Workspace) -> None:
    scored.sql("""UPDATE applicants SET "Gender" = NULL WHERE "Loan_ID" < 'LP001200'""")
    found = scored.cli_json("fairness", NAME)
    rows = with_groups(scored)
    rows["Gender"] = rows["Gender"].fillna("unknown")
    rows["is_selected"] = rows["prediction"] == "Y"
    expected = rows.groupby("Gender")["is_selected"].agg(["size", "sum"])
    shown = figures(found, "Gender")
    assert set(shown) == {name for name, size in expected["size"].items() if size >= 20} >= {"unknown", "Male"}
    for name, one in shown.items():
        assert (one["rows"], one["selected"]) == tuple(expected.loc[name])
        assert one["rate"] == pytest.approx(one["selected"] / one["rows"])
    male, female = shown["Male"], shown["Female"]
    assert male["is_reference"]
    assert female["ratio"] == pytest.approx(female["rate"] / male["rate"])
    assert found["changed"] == 1
    assert scored.cli_json("fairness", NAME)["changed"] == 0
    scored.sql("""UPDATE applicants SET "Gender" = 'Male' WHERE "Gender" IS NULL""")
    assert scored.cli_json("fairness", NAME)["changed"] == 1
    assert scored.query("SELECT month, number FROM fairness_reports ORDER BY number") == [
        (scored.scalar("SELECT min(month) FROM fairness_reports"), 1),
        (scored.scalar("SELECT min(month) FROM fairness_reports"), 2),
    ]


def test_a_row_counts_once_a_month_with_its_latest_prediction(scored: Workspace) -> None:
    assert scored.cli("rescore", NAME, "--all", "--reason", "twice", "--yes").returncode == 0
    start = scored.words.timestamp_text(pd.Timestamp("2026-02-20").to_pydatetime())
    scored.rewrite(f"UPDATE predictions_superseded SET valid_to = '{start}'")
    scored.rewrite(f"UPDATE predictions SET valid_from = '{start}', prediction = 'N'")
    found = scored.cli_json("fairness", NAME)
    assert sum(one["rows"] for one in figures(found, "Married").values()) == 367
    assert {one["selected"] for one in found["groups"]} == {0}


def test_outcomes_give_true_positive_rate_and_calibration_by_group(scored: Workspace) -> None:
    scored.write_job(NAME, LOAN_JOB + FAIRNESS + OUTCOMES)
    became = {key: "YN"[number % 3 == 0] for number, key in enumerate(keys(scored))}
    write(scored, [outcome(key, label, "2026-02-10 12:00:00", "2026-04-01") for key, label in became.items()])
    write(scored, [outcome(key, "N", "2026-02-10 12:00:00", "2026-03-01") for key in keys(scored)[:30]])  # older
    found = figures(scored.cli_json("fairness", NAME), "Gender")
    rows = with_groups(scored)
    rows["became"] = rows["Loan_ID"].map(became)
    for name, of_group in rows.dropna(subset="Gender").groupby("Gender"):
        positive = of_group[of_group["became"] == "Y"]
        one = found[str(name)]
        assert one["outcomes"] == len(of_group)
        assert one["true_positive_rate"] == pytest.approx((positive["prediction"] == "Y").mean())
        assert one["observed"] == pytest.approx((of_group["became"] == "Y").mean())
        assert one["expected"] == pytest.approx(of_group["score"].astype(float).mean())
    told = scored.cli("fairness", NAME)
    assert "of positives" in told.stdout


def test_groups_of_another_table_and_a_flag_with_its_words(scored: Workspace) -> None:
    scored.sql("CREATE TABLE people (loan VARCHAR(40) PRIMARY KEY, region VARCHAR(20))")
    scored.sql(
        "INSERT INTO people SELECT p.\"Loan_ID\", CASE WHEN p.prediction = 'N' THEN 'North' ELSE 'South' END"
        " FROM predictions p"
    )
    scored.sql("UPDATE people SET region = 'East' WHERE region = 'North' AND loan < 'LP001500'")
    (scored.jobs_dir / f"{NAME}.toml").write_text(
        LOAN_JOB + '\n[fairness]\ntable = "people"\nkey = ["loan"]\ncolumns = ["region"]\nfewest = 10\n'
        'reference = { region = "South" }\n',
        encoding="utf-8",
    )
    told = scored.cli("fairness", NAME)
    assert told.returncode == 0
    assert "2026-02: the rate of region North is 0, below four fifths" in told.stdout
    assert "no finding of discrimination" in " ".join(told.stdout.split())
    assert "below, and no chance" in told.stdout


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ('columns = ["Sex"]', "fairness.columns: applicants has no column Sex; it has Loan_ID"),
        ('columns = ["Gender"]\ntable = "nothing"', "fairness.table: cannot be read"),
        ('columns = ["Gender"]\nkey = ["Loan_ID", "Gender"]', "fairness.key: expected the columns with the key"),
        ('columns = ["ApplicantIncome"]', "ApplicantIncome: more than 50 values; give a view with a column of groups"),
        ('columns = ["Gender"]\ntable = "twice"', "twice has 367 keys more than once"),
        ("columns = []", "columns"),
        ('columns = ["Gender"]\nfewest = 2', "fewest"),
        (None, "fairness: is missing: name the columns"),
    ],
    ids=["no column", "no table", "key", "many values", "repeated keys", "no columns", "too few", "no section"],
)
def test_groups_that_cannot_be_compared_say_why(scored: Workspace, section: str | None, said: str) -> None:
    scored.sql('CREATE TABLE twice AS SELECT "Loan_ID", "Gender" FROM applicants')
    scored.sql("INSERT INTO twice SELECT * FROM twice")
    text = "" if section is None else f"\n[fairness]\n{section}\n"
    (scored.jobs_dir / f"{NAME}.toml").write_text(LOAN_JOB + text, encoding="utf-8")
    assert_refused(scored.cli("fairness", NAME), 2, said)
    assert scored.scalar("SELECT count(*) FROM fairness_reports") == 0
    if said.startswith("fairness.columns: "):
        assert f"`batch-scoring fairness {NAME}` would fail: {said}" in " ".join(scored.cli("check").stdout.split())


def test_a_job_without_a_positive_label_is_refused_and_a_month_without_rows_says_so(scored: Workspace) -> None:
    told = scored.cli("fairness", NAME, "--month", "2020-01")
    assert (told.returncode, told.stdout) == (0, "")
    assert "no group of 2020-01 has enough rows to be shown" in told.stderr
    assert_refused(scored.cli("fairness", NAME, "--month", "May"), 2, "'May' is not a month")
    scored.write_job(NAME, LOAN_JOB + FAIRNESS + 'reference = { Gender = "Other" }\n')
    told = scored.cli("fairness", NAME)
    assert "Gender: nothing is compared, as the reference group has too few rows, or none" in told.stderr


def test_readers_of_bi_do_not_see_groups(granted: Granted) -> None:
    reader = granted.by("bi_reader")
    with pytest.raises(Exception, match=r"permission denied|was refused"):
        reader.query("SELECT * FROM fairness_reports")
