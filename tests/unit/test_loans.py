"""The applications that ship for the tests: what the generator gives, with the flaws of real ones."""

from __future__ import annotations

from pathlib import Path

import loans
import pandas as pd
import pytest

from batch_scoring.demo.synthetic import applicants

MISSING = {
    "Gender",
    "Married",
    "Dependents",
    "Self_Employed",
    "LoanAmount",
    "Loan_Amount_Term",
    "Credit_History",
}


@pytest.mark.parametrize("name", ["loan_train.csv", "loan_test.csv"])
def test_the_shipped_files_are_what_the_generator_writes(name: str, tmp_path: Path) -> None:
    loans.write(tmp_path)

    assert (loans.FOLDER / name).read_bytes() == (tmp_path / name).read_bytes()


def test_the_same_seed_gives_the_same_applicants_and_another_gives_others() -> None:
    pd.testing.assert_frame_equal(applicants(50, seed=5), applicants(50, seed=5))

    assert not applicants(50, seed=5).equals(applicants(50, seed=6))


def test_there_are_614_labelled_and_367_new_applications_and_none_twice(
    loan_train: pd.DataFrame, loan_test: pd.DataFrame
) -> None:
    assert (len(loan_train), len(loan_test)) == (614, 367)
    assert [*loan_test, "Loan_Status"] == list(loan_train)
    keys = [*loan_train["Loan_ID"], *loan_test["Loan_ID"]]
    assert len(set(keys)) == 614 + 367
    assert all(key.startswith("LP00") and len(key) == 8 for key in keys)
    assert loan_train["Loan_ID"].iloc[0] == "LP001002"
    for frame in (loan_train, loan_test):
        assert frame["Loan_ID"].is_monotonic_increasing


def test_values_are_missing_where_real_applications_have_none(
    loan_train: pd.DataFrame, loan_test: pd.DataFrame
) -> None:
    assert {name for name in loan_train if loan_train[name].isna().any()} == MISSING
    assert {name for name in loan_test if loan_test[name].isna().any()} == MISSING - {"Married"}
    assert "LP001015,Male,Yes,0,Graduate,No,4891,1924,142,360,1,Semiurban" in (
        loans.FOLDER / "loan_test.csv"
    ).read_text(encoding="utf-8")
    assert ",," in (loans.FOLDER / "loan_test.csv").read_text(encoding="utf-8"), "an empty field"


def test_texts_rare_terms_and_amounts_are_those_of_loan_applications(
    loan_train: pd.DataFrame, loan_test: pd.DataFrame
) -> None:
    assert set(loan_train["Dependents"].dropna()) == {"0", "1", "2", "3+"}
    terms = loan_train["Loan_Amount_Term"].value_counts()
    assert terms.index[0] == 360
    assert (terms == 1).any(), "a term that one application has"
    assert loan_train["CoapplicantIncome"].dtype == float
    assert loan_test["CoapplicantIncome"].dtype == int
    assert (loan_test["ApplicantIncome"] == 0).sum() == 2
    assert loan_train["ApplicantIncome"].max() > 4 * loan_train["ApplicantIncome"].quantile(0.9)


def test_two_of_three_loans_were_granted(loan_train: pd.DataFrame) -> None:
    assert 0.65 < (loan_train["Loan_Status"] == "Y").mean() < 0.72
