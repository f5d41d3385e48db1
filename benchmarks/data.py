"""The applicants that every contender scores, and the models they score with.

Applicants are those of ``batch_scoring.demo.synthetic``, made with seed 20 in blocks of 250,000, each block with a seed
of its own, so that the first million is the same whatever the size. Models are fitted on 20,000 labelled applicants of
seed 7 with the shipped job.
"""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import psycopg2
import pyarrow as pa
import pyarrow.csv as pacsv

from batch_scoring.demo.synthetic import KEY, LABEL, applicants
from batch_scoring.domain.job import Job
from batch_scoring.model.training import Algorithm, build_pipeline, train

SEED = 20
BLOCK = 250_000
TREES = 300
"""Trees of the random forest: enough for the model to take most of the time."""

_COLUMNS = {
    KEY: "TEXT PRIMARY KEY",
    "Gender": "TEXT",
    "Married": "TEXT",
    "Dependents": "TEXT",
    "Education": "TEXT",
    "Self_Employed": "TEXT",
    "ApplicantIncome": "BIGINT",
    "CoapplicantIncome": "DOUBLE PRECISION",
    "LoanAmount": "DOUBLE PRECISION",
    "Loan_Amount_Term": "DOUBLE PRECISION",
    "Credit_History": "DOUBLE PRECISION",
    "Property_Area": "TEXT",
}


def blocks(count: int) -> Iterator[pd.DataFrame]:
    """``count`` applicants, block by block."""
    for number, start in enumerate(range(0, count, BLOCK)):
        yield applicants(min(BLOCK, count - start), seed=SEED + number, first_id=start + 1)


def _table() -> str:
    columns = ", ".join(f'"{name}" {ddl}' for name, ddl in _COLUMNS.items())
    return f"CREATE TABLE applicants ({columns}, updated_at TIMESTAMP NOT NULL DEFAULT '2026-01-01 00:00:00')"


def fill_postgres(url: str, count: int) -> None:
    """Make the table ``applicants``, indexed on both the key and ``updated_at``."""
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(_table())
        for block in blocks(count):
            _copy(cursor, block)
        cursor.execute("CREATE INDEX ON applicants (updated_at)")
        cursor.execute("VACUUM ANALYZE applicants")
    connection.close()


def add_to_postgres(url: str, first_id: int, count: int) -> None:
    """New applicants, changed now."""
    connection = psycopg2.connect(url)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE applicants ALTER updated_at SET DEFAULT now()")
        _copy(cursor, applicants(count, seed=first_id, first_id=first_id))
    connection.commit()
    connection.close()


def _copy(cursor: psycopg2.extensions.cursor, block: pd.DataFrame) -> None:
    buffer = io.BytesIO()
    pacsv.write_csv(pa.Table.from_pandas(block, preserve_index=False), buffer, pacsv.WriteOptions(include_header=False))
    buffer.seek(0)
    names = ", ".join(f'"{name}"' for name in block.columns)
    cursor.copy_expert(f"COPY applicants ({names}) FROM STDIN (FORMAT csv)", buffer)


def fill_sqlite(file: Path, count: int) -> None:
    """The same table in an SQLite file."""
    connection = sqlite3.connect(file)
    connection.execute(_table())
    for block in blocks(count):
        names = ", ".join(f'"{name}"' for name in block.columns)
        marks = ", ".join("?" * len(block.columns))
        rows = block.astype(object).where(block.notna(), None).itertuples(index=False, name=None)
        connection.executemany(f"INSERT INTO applicants ({names}) VALUES ({marks})", rows)
    connection.commit()
    connection.close()


def history() -> pd.DataFrame:
    """What models are fitted on."""
    return applicants(20_000, seed=7, labelled=True)


def fit(job: Job, algorithm: Algorithm, file: Path) -> None:
    """Fit a model and keep it as a file that every contender loads."""
    data = history()
    if algorithm is Algorithm.RANDOM_FOREST:
        features = data.drop(columns=[KEY, LABEL])
        pipeline = build_pipeline(features, job.training, algorithm)
        pipeline.set_params(classify__n_estimators=TREES)
        pipeline.fit(features, np.asarray(data[LABEL], dtype=object))
    else:
        pipeline = train(job, data, LABEL, algorithm).pipeline
    joblib.dump(pipeline, file)
