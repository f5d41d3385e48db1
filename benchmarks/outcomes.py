"""Monthly figures of a million predictions with 300,000 outcomes, compared with pandas and scikit-learn by hand.

The hand-made way reads both tables, joins each outcome by ``merge_asof``, and computes accuracy, area and Brier score
by month. Both run in processes of their own, in turn; the second run of ours finds nothing changed and records nothing.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import sqlalchemy as sa
from sklearn.linear_model import LogisticRegression

from batch_scoring.domain.job_files import read_job
from batch_scoring.model.artifact import artifact_uri, dump, save
from batch_scoring.model.describe import describe
from batch_scoring.store import registry
from batch_scoring.store.engine.database import Database
from batch_scoring.store.schema.upgrade import upgrade
from benchmarks.server import postgres

PREDICTIONS, OUTCOMES = 1_000_000, 300_000

JOB = """
[source]
table = "customers"
key = ["id"]
[model]
name = "customers"
[predictions]
positive_label = "1"
[outcomes]
table = "results"
outcome = "became"
observed_at = "observed_at"
decided_at = "decided_at"
"""

SCORED = f"""
INSERT INTO predictions (id, run_id, model_version, score, prediction, valid_from)
SELECT i, 1, 1, s, CASE WHEN s >= 0.5 THEN '1' ELSE '0' END,
  TIMESTAMPTZ '2025-01-01 00:00:00+00' + i * INTERVAL '25 seconds'
FROM (
  SELECT i, (hashint4(i)::bigint + 2147483648) / 4294967296.0 AS s FROM generate_series(1, {PREDICTIONS}) AS i
) AS scored
"""

RESULTS = f"""
CREATE TABLE results AS
SELECT id, (CASE WHEN (hashint4(id + 7)::bigint + 2147483648) / 4294967296.0 < score THEN '1' ELSE '0' END) AS became,
  valid_from + INTERVAL '1 hour' AS decided_at, valid_from + INTERVAL '60 days' AS observed_at
FROM predictions WHERE id % {PREDICTIONS * 10 // OUTCOMES} < 10
"""


def _prepare(url: str, folder: Path) -> None:
    database = Database(url)
    (folder / "customers.toml").write_text(JOB, encoding="utf-8")
    job = read_job(folder / "customers.toml")
    rows = pd.DataFrame({"x": [0.0, 1.0] * 50})
    model = LogisticRegression().fit(rows, [0, 1] * 50)
    content = dump(model)
    manifest = describe(model, content, rows)
    save(folder, "customers", content, manifest)
    with database.write(create=True) as connection:
        connection.exec_driver_sql("CREATE TABLE customers (id INTEGER PRIMARY KEY, x DOUBLE PRECISION)")
    upgrade(database, [job])
    registry.register_version(
        database,
        name="customers",
        artifact_uri=artifact_uri("customers", manifest),
        artifact_sha256=manifest.artifact_sha256,
        manifest=manifest.model_dump(mode="json"),
        created_by="benchmark",
    )
    with database.write() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO scoring_runs (job, trigger, status, started_at, heartbeat_at, finished_at, end_reason,"
                " host, process_id, package_version, environment, job_config, requested_by, model_name, model_version)"
                " VALUES ('customers', 'cli', 'succeeded', now(), now(), now(), 'completed', 'h', 1, '0',"
                " '{}', '{}', 'me', 'customers', 1)"
            )
        )
        for statement in (SCORED, RESULTS, "ANALYZE predictions", "ANALYZE results"):
            connection.exec_driver_sql(statement.replace("%", "%%"))
    database.dispose()


def _ours(url: str, folder: str) -> None:
    from batch_scoring.monitoring.performance import evaluate

    found = evaluate(Database(url), read_job(Path(folder) / "customers.toml"), by="benchmark")
    print(f"{len(found.cohorts)} months, {found.counts.used_count:,} outcomes, {len(found.changed)} recorded")


def _by_hand(url: str, _folder: str) -> None:
    from sklearn.metrics import accuracy_score, brier_score_loss, roc_auc_score

    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg2://"))
    predictions = pd.read_sql_query("SELECT id, score, prediction, valid_from FROM predictions", engine)
    results = pd.read_sql_query("SELECT id, became, decided_at FROM results", engine)
    joined = pd.merge_asof(
        results.sort_values("decided_at"),
        predictions.sort_values("valid_from"),
        left_on="decided_at",
        right_on="valid_from",
        by="id",
    )
    months = joined.groupby(joined["decided_at"].dt.strftime("%Y-%m"))
    for _, rows in months:
        positive = rows["became"] == "1"
        accuracy_score(rows["became"], rows["prediction"])
        roc_auc_score(positive, rows["score"])
        brier_score_loss(positive, rows["score"])
    print(f"{len(months)} months, {len(joined):,} outcomes")


def _measured(way: str, url: str, folder: Path) -> tuple[float, str]:
    command = [sys.executable, "-m", "benchmarks.outcomes", way, url, str(folder)]
    started = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return time.perf_counter() - started, done.stdout.strip()


def main() -> None:
    """Print seconds and peak memory of both ways, in turn."""
    if len(sys.argv) > 1:
        {"ours": _ours, "by_hand": _by_hand}[sys.argv[1]](*sys.argv[2:])
        print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")
        return
    with tempfile.TemporaryDirectory() as temporary, postgres() as server:
        folder, url = Path(temporary), server.create("outcomes")
        _prepare(url, folder)
        for _ in range(3):
            for way in ("ours", "by_hand"):
                seconds, printed = _measured(way, url, folder)
                print(f"{way}: {seconds:.1f} s, {', '.join(printed.splitlines())}")


if __name__ == "__main__":
    main()
