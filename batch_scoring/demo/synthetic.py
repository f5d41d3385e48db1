"""Synthetic loan applicants, not based on real persons, with the columns of the loan example and missing values.

Incomes and amounts are log-normal with a few outliers, categories have the approximate frequencies of a small lender's
applicants, and the outcome follows a logistic rule (credit history counts most, then the loan against the
income, then the area) with noise. As in real applications, seven columns have missing values, ``Dependents`` are texts
such as ``3+``, and a few loan terms are rare. The same seed generates the same applicants.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

LABEL = "Loan_Status"
KEY = "Loan_ID"
_MISSING = {"Gender": 0.02, "Married": 0.005, "Dependents": 0.025, "Self_Employed": 0.05, "LoanAmount": 0.035} | {
    "Loan_Amount_Term": 0.02,
    "Credit_History": 0.08,
}
_TERMS = {360.0: 0.855, 180.0: 0.08, 480.0: 0.025, 300.0: 0.02, 240.0: 0.008, 84.0: 0.005} | {
    120.0: 0.003,
    60.0: 0.002,
    36.0: 0.001,
    12.0: 0.001,
}


def applicants(count: int, *, seed: int, first_id: int = 1, labelled: bool = False) -> pd.DataFrame:
    """``count`` rows with the key, eleven features and, if ``labelled``, the outcome. Amounts are in thousands."""
    rng = np.random.default_rng(seed)
    income = np.round(rng.lognormal(8.35, 0.55, count) * np.where(rng.random(count) < 0.01, 8, 1))
    partner = np.where(rng.random(count) < 0.55, np.round(rng.lognormal(7.6, 0.6, count), 2), 0.0)
    amount = np.round(np.clip((income + partner) / 45 * rng.lognormal(0, 0.35, count), 9, 700))
    history = (rng.random(count) < 0.84).astype(float)
    area = rng.choice(["Rural", "Semiurban", "Urban"], count, p=[0.29, 0.38, 0.33])
    frame = pd.DataFrame(
        {
            KEY: [f"SY{number:07d}" for number in range(first_id, first_id + count)],
            "Gender": rng.choice(["Male", "Female"], count, p=[0.81, 0.19]),
            "Married": rng.choice(["Yes", "No"], count, p=[0.65, 0.35]),
            "Dependents": rng.choice(["0", "1", "2", "3+"], count, p=[0.58, 0.17, 0.17, 0.08]),
            "Education": rng.choice(["Graduate", "Not Graduate"], count, p=[0.78, 0.22]),
            "Self_Employed": rng.choice(["No", "Yes"], count, p=[0.86, 0.14]),
            "ApplicantIncome": income.astype(np.int64),
            "CoapplicantIncome": partner,
            "LoanAmount": amount,
            "Loan_Amount_Term": rng.choice(list(_TERMS), count, p=list(_TERMS.values())),
            "Credit_History": history,
            "Property_Area": area,
        }
    )
    burden = amount / ((income + partner) / 45)
    logit = -2.2 + 3.6 * history - 0.7 * (burden - 1) + 0.6 * (area == "Semiurban") + rng.normal(0, 0.6, count)
    granted = rng.random(count) < 1 / (1 + np.exp(-logit))
    for name, share in _MISSING.items():
        frame.loc[rng.random(count) < share, name] = None
    if labelled:
        frame[LABEL] = np.where(granted, "Y", "N")
    return frame
