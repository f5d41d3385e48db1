"""The loan applications of the tests, ``data/loan_train.csv`` and ``data/loan_test.csv``: synthetic, of no real person.

They are drawn from the demo's generator with fixed seeds, and look like the public files of real applications: as many
rows, keys such as ``LP001002`` in ascending order with gaps, whole amounts written without decimals except the
co-applicants' incomes of the labelled file, empty fields, and two applicants with an income of 0. The files are part
of the repository so that no release of NumPy changes what the tests see; ``python tests/loans.py`` writes them again.
"""

from __future__ import annotations

from itertools import accumulate, cycle, islice
from pathlib import Path

import pandas as pd

from batch_scoring.demo.synthetic import KEY, applicants

FOLDER = Path(__file__).resolve().parent / "data"
LABELLED, NEW = 614, 367
_NEW_NUMBERS = [*accumulate(islice(cycle([7, 9, 2, 3, 4, 7]), NEW - 2), initial=1015), 2989]
_LABELLED_NUMBERS = sorted(set(range(1002, 2991)) - set(_NEW_NUMBERS))[::2][:LABELLED]


def labelled() -> pd.DataFrame:
    """614 applications with their outcome."""
    rows = applicants(LABELLED, seed=614, labelled=True)
    return _written_plainly(_with_keys(rows, _LABELLED_NUMBERS))


def new() -> pd.DataFrame:
    """367 applications without an outcome."""
    rows = applicants(NEW, seed=503)  # the first six and the last three have no missing value
    rows.loc[[25, 188], "ApplicantIncome"] = 0
    whole = rows["CoapplicantIncome"].round()
    return _written_plainly(_with_keys(rows.assign(CoapplicantIncome=whole), _NEW_NUMBERS))


def _with_keys(rows: pd.DataFrame, numbers: list[int]) -> pd.DataFrame:
    return rows.assign(**{KEY: [f"LP{number:06d}" for number in numbers]})


def _written_plainly(rows: pd.DataFrame) -> pd.DataFrame:
    """Whole amounts as ``110`` and not as ``110.0``."""
    amounts = rows.select_dtypes("float")
    whole = [name for name in amounts if (amounts[name].dropna() % 1 == 0).all()]
    return rows.astype(dict.fromkeys(whole, pd.Int64Dtype()))


def write(folder: Path = FOLDER) -> None:
    """Write both files."""
    folder.mkdir(exist_ok=True)
    labelled().to_csv(folder / "loan_train.csv", index=False)
    new().to_csv(folder / "loan_test.csv", index=False)


if __name__ == "__main__":
    write()
