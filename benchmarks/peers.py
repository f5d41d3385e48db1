"""The alternatives, each written as its users would: one function scores every applicant into ``TARGET``.

Each reads the table ``applicants`` with the model's columns, scores with the same fitted pipeline, and writes five
columns: key, score, prediction, model version, timestamp. None determines due rows, holds a fence or counts its writes.
``python -m benchmarks.peers NAME URL MODEL`` runs one of them in a separate process and prints the duration, without
imports and without loading the model.
"""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd

KEY = "Loan_ID"
FEATURES = (
    "Gender",
    "Married",
    "Dependents",
    "Education",
    "Self_Employed",
    "ApplicantIncome",
    "CoapplicantIncome",
    "LoanAmount",
    "Loan_Amount_Term",
    "Credit_History",
    "Property_Area",
)
COLUMNS = ", ".join(f'"{name}"' for name in (KEY, *FEATURES))
TARGET = "peer_predictions"
QUERY = f"SELECT {COLUMNS} FROM applicants"
CHUNK = 50_000


def outcome(keys: Any, scores: Any) -> pd.DataFrame:
    """The five columns."""
    return pd.DataFrame(
        {
            KEY: keys,
            "score": scores,
            "prediction": np.where(scores >= 0.5, "Y", "N"),
            "model_version": 1,
            "scored_at": datetime.now(UTC),
        }
    )


def positive(model: Any, features: pd.DataFrame) -> Any:
    """The probability of the positive label."""
    return model.predict_proba(features)[:, list(model.classes_).index("Y")]


def _engine(url: str) -> Any:
    import sqlalchemy as sa

    return sa.create_engine(url.replace("postgresql://", "postgresql+psycopg2://"))


def pandas_at_once(url: str, model_file: Path) -> Callable[[], None]:
    """``read_sql``, ``predict_proba``, ``to_sql``: what tutorials show."""

    model, engine = joblib.load(model_file), _engine(url)

    def work() -> None:
        frame = pd.read_sql(QUERY, engine)
        scored = outcome(frame[KEY], positive(model, frame[list(FEATURES)]))
        scored.to_sql(TARGET, engine, if_exists="append", index=False)

    return work


def pandas_replacing(url: str, model_file: Path) -> Callable[[], None]:
    """``pandas_at_once`` that replaces the table of the last run, and so keeps no history."""

    model, engine = joblib.load(model_file), _engine(url)

    def work() -> None:
        frame = pd.read_sql(QUERY, engine)
        scored = outcome(frame[KEY], positive(model, frame[list(FEATURES)]))
        scored.to_sql(TARGET, engine, if_exists="replace", index=False)

    return work


def pandas_in_chunks(url: str, model_file: Path) -> Callable[[], None]:
    """The same in chunks with ``method="multi"``: a server-side cursor and two connections keep memory bounded."""

    model, engine = joblib.load(model_file), _engine(url)

    def work() -> None:
        with engine.connect().execution_options(stream_results=True) as reading, engine.connect() as writing:
            for frame in pd.read_sql(QUERY, reading, chunksize=CHUNK):
                scored = outcome(frame[KEY], positive(model, frame[list(FEATURES)]))
                scored.to_sql(TARGET, writing, if_exists="append", index=False, method="multi", chunksize=5_000)
                writing.commit()

    return work


def polars_adbc(url: str, model_file: Path) -> Callable[[], None]:
    """Polars with ADBC, Arrow both ways; the model takes pandas."""
    import polars as pl

    model = joblib.load(model_file)

    def work() -> None:
        frame = pl.read_database_uri(QUERY, url, engine="adbc")
        features = frame.select(FEATURES).to_pandas()
        scored = pl.from_pandas(outcome(frame[KEY].to_numpy(), positive(model, features)))
        scored.write_database(TARGET, url, engine="adbc", if_table_exists="append")

    return work


def mlflow_pyfunc(url: str, model_file: Path) -> Callable[[], None]:
    """A model logged with MLflow, loaded as a ``pyfunc``, with pandas for the database."""
    import mlflow

    folder = model_file.parent / "mlflow_model"
    loaded, engine = mlflow.pyfunc.load_model(str(folder)), _engine(url)

    def work() -> None:
        frame = pd.read_sql(QUERY, engine)
        probabilities = loaded.predict(frame[list(FEATURES)])
        classes = list(joblib.load(model_file).classes_)
        scored = outcome(frame[KEY], np.asarray(probabilities)[:, classes.index("Y")])
        scored.to_sql(TARGET, engine, if_exists="append", index=False)

    return work


def hand_written(url: str, model_file: Path) -> Callable[[], None]:
    """A careful hand-written loop: keyset pagination, 50,000 rows at a time, COPY both ways, Arrow's CSV reader."""
    import psycopg2
    import pyarrow as pa
    import pyarrow.csv as pacsv

    model, connection = joblib.load(model_file), psycopg2.connect(url)
    texts = {"Gender", "Married", "Dependents", "Education", "Self_Employed", "Property_Area"}
    types = {KEY: pa.string()} | {
        name: pa.dictionary(pa.int32(), pa.string()) if name in texts else pa.float64() for name in FEATURES
    }

    def work() -> None:
        last: str | None = None
        with connection.cursor() as cursor:
            while True:
                sink = io.BytesIO()
                rest = f'WHERE "{KEY}" > %s' if last is not None else ""
                query = cursor.mogrify(
                    f'{QUERY} {rest} ORDER BY "{KEY}" LIMIT {CHUNK}', [last] if rest else None
                ).decode()
                cursor.copy_expert(f"COPY ({query}) TO STDOUT (FORMAT csv)", sink)
                if not sink.tell():
                    return
                sink.seek(0)
                frame = pacsv.read_csv(
                    sink,
                    pacsv.ReadOptions(column_names=[KEY, *FEATURES]),
                    pacsv.ParseOptions(newlines_in_values=True),
                    pacsv.ConvertOptions(
                        column_types=types, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
                    ),
                )
                last = frame[KEY][-1].as_py()
                scores = positive(model, frame.select(list(FEATURES)).to_pandas())
                count = len(scores)
                scored = pa.table(
                    {
                        KEY: frame[KEY],
                        "score": scores,
                        "prediction": np.where(scores >= 0.5, "Y", "N"),
                        "model_version": np.ones(count, np.int32),
                        "scored_at": pa.repeat(datetime.now(UTC).isoformat(), count),
                    }
                )
                source = io.BytesIO()
                pacsv.write_csv(scored, source, pacsv.WriteOptions(include_header=False))
                source.seek(0)
                cursor.copy_expert(f"COPY {TARGET} FROM STDIN (FORMAT csv)", source)
                connection.commit()

    return work


def model_alone(url: str, model_file: Path) -> Callable[[], None]:
    """The model on data in memory, text as categories, 50,000 rows at a time: without input and output."""

    model = joblib.load(model_file)
    frame = pd.read_sql(QUERY, _engine(url))
    texts = [name for name in FEATURES if not pd.api.types.is_numeric_dtype(frame[name])]
    frame = frame[list(FEATURES)].astype(dict.fromkeys(texts, "category"))

    def work() -> None:
        for start in range(0, len(frame), CHUNK):
            positive(model, frame.iloc[start : start + CHUNK])

    return work


PEERS = {
    peer.__name__: peer
    for peer in (
        *(pandas_at_once, pandas_replacing, pandas_in_chunks, polars_adbc, mlflow_pyfunc),
        *(hand_written, model_alone),
    )
}


def peak_mib() -> float:
    """Peak resident memory of this process in MiB; ``getrusage`` would include the process that started it."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def main() -> None:
    """Run one peer once and print its duration and memory use."""
    name, url, model_file = sys.argv[1:4]
    work = PEERS[name](url, Path(model_file))
    started, started_processor = time.perf_counter(), time.process_time()
    work()
    result = {
        "seconds": time.perf_counter() - started,
        "processor_seconds": time.process_time() - started_processor,
        "peak_mib": peak_mib(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
