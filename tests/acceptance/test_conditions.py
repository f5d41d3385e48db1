"""`rescore --where` and `--skip-unknown` as commands: what is selected, said, recorded and continued."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from commands import assert_no_traceback, assert_refused
from support import Workspace

NAME = "loan_eligibility"
REASON = ("--reason", "checked by risk")
BOTH = "\"Property_Area\" = Rural and (ApplicantIncome > 5000 or LoanAmount is null) and Loan_ID not like 'LP002%'"


def _selected(frame: pd.DataFrame) -> int:
    income, amount = frame["ApplicantIncome"] > 5000, frame["LoanAmount"].isna()
    chosen = (frame["Property_Area"] == "Rural") & (income | amount) & ~frame["Loan_ID"].str.startswith("LP002")
    return int(chosen.sum())


@pytest.fixture
def scored(loan_workspace: Workspace) -> Workspace:
    loan_workspace.run()
    return loan_workspace


@pytest.mark.slow
def test_a_condition_of_several_comparisons_is_scored_again_recorded_and_continued(
    scored: Workspace, loan_test: pd.DataFrame
) -> None:
    expected = _selected(loan_test)
    assert 0 < expected < 100
    done = scored.cli("rescore", NAME, "--where", BOTH, *REASON, "--yes")
    assert_no_traceback(done)
    assert done.returncode == 0, done.stderr
    assert scored.query("SELECT due_count, scored_count, superseded_count FROM run_history WHERE run_id = 2") == [
        (expected, expected, expected)
    ]
    record = scored.scalar("SELECT selection FROM rescore_requests WHERE run_id = 2")
    record = json.loads(record) if isinstance(record, str) else record
    assert record["where"] == [BOTH.replace('"', "")]

    scored.sql("UPDATE scoring_runs SET status = 'failed' WHERE run_id = 2")
    rest = scored.cli("rescore", NAME, "--continue", "2", *REASON, "--yes")
    assert rest.returncode == 0, rest.stderr
    assert "is left of what run 2 was asked to score" in rest.stderr
    assert "no row was selected, nothing was scored again" in rest.stdout


@pytest.mark.slow
def test_a_request_recorded_as_a_list_of_comparisons_is_continued(scored: Workspace, loan_test: pd.DataFrame) -> None:
    assert scored.cli("rescore", NAME, "--where", "ApplicantIncome > 1e9", *REASON, "--yes").returncode == 0
    old = {
        "keys": None,
        "scored_by_version": None,
        "scored_before": None,
        "scored_after": None,
        "where": [["ApplicantIncome", ">", "5000", False], ["Gender", "is not null", None, False]],
    }
    scored.sql("UPDATE rescore_requests SET selection = :record", {"record": json.dumps(old)})
    done = scored.cli_json("rescore", NAME, "--continue", "2", *REASON, "--yes")
    assert done["scored_count"] == int(((loan_test["ApplicantIncome"] > 5000) & loan_test["Gender"].notna()).sum())


@pytest.mark.parametrize("flags", [("--dry-run",), (*REASON, "--yes")])
def test_a_rescore_that_selects_nothing_says_so_and_ends_with_0(scored: Workspace, flags: tuple[str, ...]) -> None:
    arguments = ("rescore", NAME, "--where", "Gender = Nobody and ApplicantIncome > 0", *flags)
    done = scored.cli(*arguments)
    assert done.returncode == 0, done.stderr
    assert "no row of applicants meets the conditions; there is nothing to score again" in done.stderr
    assert "no row" in done.stdout
    found = scored.cli_json(*arguments)
    assert found.get("row_count", found.get("due_count")) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("Gender = Male and Married", "character 26: found the end, expected one of"),
        ("Gender = Male and Wedded = Yes", "character 19, the source has no column 'Wedded'"),
        ("Gender = Male and ApplicantIncome > much", "character 37, 'much': column ApplicantIncome is"),
        ("Gender = Married", "'Married' is a column of the source"),
    ],
)
def test_a_condition_that_is_none_is_refused_at_its_place_and_nothing_is_done(
    scored: Workspace, condition: str, words: str
) -> None:
    assert_refused(scored.cli("rescore", NAME, "--where", condition, *REASON, "--yes"), 2, words)
    assert scored.scalar("SELECT count(*) FROM scoring_runs") == 1


@pytest.mark.slow
def test_keys_that_are_unknown_are_skipped_and_counted_where_that_is_asked_for(
    scored: Workspace, tmp_path: Path
) -> None:
    file = tmp_path / "from the branch.csv"
    file.write_bytes("sep=;\r\nLOAN_ID;note\r\nLP001015;x\r\nLP000000;y\r\nLP001022;z\r\n".encode("utf-16"))
    refused = ("rescore", NAME, "--keys-file", str(file), *REASON, "--yes")
    assert_refused(scored.cli(*refused), 2, "1 key is not among the rows", "(key Loan_ID): LP000000", "--skip-unknown")

    done = scored.cli(*refused, "--skip-unknown")
    assert done.returncode == 0, done.stderr
    assert (
        "skipped: 1 key is not among the rows of applicants that the job covers (key Loan_ID): LP000000" in done.stderr
    )
    again = scored.query('SELECT "Loan_ID" FROM predictions_current WHERE run_id = 2 ORDER BY 1')
    assert again == [("LP001015",), ("LP001022",)]

    none = scored.cli("rescore", NAME, "--key", "LP000000", "--skip-unknown", *REASON, "--yes")
    assert (none.returncode, "no row was selected" in none.stdout) == (0, True)
    assert_refused(scored.cli("rescore", NAME, "--all", "--skip-unknown", "--dry-run"), 2, "--skip-unknown requires")


@pytest.mark.slow
def test_a_preview_written_to_a_file_is_a_file_of_keys(scored: Workspace, tmp_path: Path) -> None:
    out = tmp_path / "preview.csv"
    assert scored.cli("rescore", NAME, "--where", "Gender is null", "--dry-run", "--out", str(out)).returncode == 0
    assert out.read_text().startswith("Loan_ID,score,prediction,")
    count = len(out.read_text().splitlines()) - 1
    assert scored.cli_json("rescore", NAME, "--keys-file", str(out), "--dry-run")["row_count"] == count > 0


@pytest.mark.slow
def test_quarantined_keys_that_are_unknown_are_skipped_too(loan_workspace: Workspace) -> None:
    loan_workspace.sql("""UPDATE applicants SET "ApplicantIncome" = NULL WHERE "Loan_ID" = 'LP001015'""")
    loan_workspace.run()
    retry = ("quarantine", "retry", NAME, "--key", "LP001015", "--key", "LP001022")
    assert_refused(loan_workspace.cli(*retry), 2, "LP001022 is not in the quarantine", "--skip-unknown")
    done = loan_workspace.cli(*retry, "--skip-unknown")
    assert done.returncode == 0, done.stderr
    assert "skipped: 1 key is not in the quarantine (key Loan_ID): LP001022" in done.stderr
    assert "1 entry closed" in done.stdout
    assert "Loan_ID" in loan_workspace.cli("quarantine", "list", NAME).stdout
