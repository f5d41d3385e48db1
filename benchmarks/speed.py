"""``make bench``: this project and its alternatives, measured in interleaved repetitions.

Every measurement is a separate process against the same server, after a checkpoint and with an empty target. The scores
of each peer are compared with those of this project by key; a difference invalidates the benchmark.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from batch_scoring.domain.job_files import load_jobs, read_job
from batch_scoring.model.training import Algorithm
from batch_scoring.registry.registration import register_file
from batch_scoring.resources import resource
from batch_scoring.store.engine.database import Database
from batch_scoring.store.schema import upgrade
from benchmarks import data, start
from benchmarks.peers import KEY, PEERS, TARGET
from benchmarks.report import IN_DATABASE, write_report
from benchmarks.server import Postgres, postgres

RESULTS = Path(__file__).parent / "results" / "latest.json"
LOGISTIC, BOOSTING, FOREST = Algorithm.LOGISTIC_REGRESSION, Algorithm.HIST_GRADIENT_BOOSTING, Algorithm.RANDOM_FOREST
REPLACING = "pandas_replacing"
SUPERSEDING = {
    "superseding every row": (LOGISTIC,),
    "superseding every row, 2 workers": (LOGISTIC, "2"),
    "superseding every row, database engine": ("in_database",),
}
"""Measurements, each with the arguments of its run."""
SLOW_PEERS = ("pandas_in_chunks", "mlflow_pyfunc")
"""Costly peers, measured once: they take minutes and no target refers to them."""
STORING = (
    ("not stored", LOGISTIC, f"{LOGISTIC}_predictions"),
    ("stored", "storing", "storing_predictions"),
    (f"not stored, {IN_DATABASE}", "in_database", "in_database_predictions"),
    (f"stored, {IN_DATABASE}", "storing_in_database", "storing_in_database_predictions"),
)
"""Measurements, each with its job and the table of its predictions."""
CHALLENGED = (
    ("champion alone", LOGISTIC, f"{LOGISTIC}_predictions"),
    ("with a challenger", "challenged", "challenged_predictions"),
    (f"champion alone, {IN_DATABASE}", "in_database", "in_database_predictions"),
    (f"with a challenger, {IN_DATABASE}", "challenged_in_database", "challenged_in_database_predictions"),
)
"""Measurements, each with its job and the table of its predictions."""
COUNTED = (
    ("counted", LOGISTIC, f"{LOGISTIC}_predictions"),
    ("not counted", "uncounted", "uncounted_predictions"),
    (f"counted, {IN_DATABASE}", "in_database", "in_database_predictions"),
    (f"not counted, {IN_DATABASE}", "uncounted_in_database", "uncounted_in_database_predictions"),
)
"""Measurements of profiles, each with its job and the table of its predictions."""
CHALLENGER = "challenger"
NEW_ROWS = 10_000
CHANGED_ROWS = 10_000
DEPTHS = (1, 50)
"""Predictions of each applicant, current and superseded."""
TOLERANCE = 1e-9
_LOOKUPS = 100
PARTS = ("compare", "inputs", "challengers", "profiles", "foreign", "large", "history", "forest", "sqlite", "start")
FOREIGN = "foreign"
"""A pipeline that was not fitted by this project."""


@dataclass
class Bench:
    """A folder with jobs, models and artifacts, and the results so far."""

    folder: Path
    server: Postgres
    rows: int
    large: int
    small: int
    sqlite_rows: int
    history: int
    repetitions: int
    measured: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))

    def ours(self, measure: str, url: str, job: str, *arguments: str) -> dict[str, Any]:
        """One run of this project."""
        return self._measure(measure, ["benchmarks.ours", url, str(self.folder), job, *arguments])

    def peer(self, measure: str, peer: str, url: str, algorithm: str) -> dict[str, Any]:
        """One repetition of a peer."""
        return self._measure(measure, ["benchmarks.peers", peer, url, str(self.model(algorithm))])

    def model(self, algorithm: str) -> Path:
        """The fitted pipeline that every contender loads."""
        return self.folder / "models" / algorithm / "model.joblib"

    def _measure(self, measure: str, module: list[str]) -> dict[str, Any]:
        started, started_server = time.perf_counter(), self.server.processor_seconds()
        done = subprocess.run([sys.executable, "-m", *module], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(module[:2])} failed:\n{done.stderr[-3000:]}")
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        result["process_seconds"] = time.perf_counter() - started
        result["server_processor_seconds"] = self.server.processor_seconds() - started_server
        self.measured[measure].append(result)
        report_progress(f"  {measure}: {result['seconds']:.2f} s, peak {result['peak_mib']:.0f} MiB")
        return result


def report_progress(text: str) -> None:
    """Print progress to standard error."""
    print(text, file=sys.stderr, flush=True)


def prepare(bench: Bench, algorithms: list[Algorithm]) -> None:
    """Fit the models and write a job file for each."""
    shipped = (resource("jobs") / "loan_eligibility.toml").read_text(encoding="utf-8")
    (bench.folder / "jobs").mkdir()
    for algorithm in algorithms:
        text = shipped.replace('name = "loan_eligibility"', f'name = "{algorithm}"')
        text = text.replace('table = "predictions"', f'table = "{algorithm}_predictions"')
        if algorithm is LOGISTIC:
            _write_with_engine(bench, text, f"{algorithm}_predictions", "in_database")
        if algorithm is LOGISTIC:  # the job with a lookback window, for the large table
            windowed = text.replace('key = ["Loan_ID"]', 'key = ["Loan_ID"]\nlookback = "2 days"\nsweep = "1 day"')
            (bench.folder / "jobs" / "windowed.toml").write_text(
                windowed.replace(f"{algorithm}_predictions", "windowed_predictions"), encoding="utf-8"
            )
            storing = text.replace("[predictions]", "[predictions]\nkeep_inputs = true")
            in_python = storing.replace(f"{algorithm}_predictions", "storing_predictions")
            (bench.folder / "jobs" / "storing.toml").write_text(in_python, encoding="utf-8")
            _write_with_engine(bench, storing, f"{algorithm}_predictions", "storing_in_database")
            uncounted = text.replace(f'name = "{algorithm}"', 'name = "uncounted"')
            _write_with_engine(bench, uncounted, f"{algorithm}_predictions", "uncounted_in_database")
            (bench.folder / "jobs" / "uncounted.toml").write_text(
                uncounted.replace(f"{algorithm}_predictions", "uncounted_predictions"), encoding="utf-8"
            )
            challenged = text.replace("[model]", f'[model]\nchallengers = ["{CHALLENGER}"]')
            in_python = challenged.replace(f"{algorithm}_predictions", "challenged_predictions")
            (bench.folder / "jobs" / "challenged.toml").write_text(in_python, encoding="utf-8")
            _write_with_engine(bench, challenged, f"{algorithm}_predictions", "challenged_in_database")
        file = bench.folder / "jobs" / f"{algorithm}.toml"
        file.write_text(text, encoding="utf-8")
        bench.model(algorithm).parent.mkdir(parents=True)
        data.fit(read_job(file), algorithm, bench.model(algorithm))
        report_progress(f"fitted {algorithm}")
    foreign = shipped.replace('name = "loan_eligibility"', f'name = "{FOREIGN}"')
    foreign = foreign.replace('table = "predictions"', f'table = "{FOREIGN}_predictions"')
    (bench.folder / "jobs" / f"{FOREIGN}.toml").write_text(foreign, encoding="utf-8")
    _write_with_engine(bench, foreign, f"{FOREIGN}_predictions", f"{FOREIGN}_in_database")
    bench.model(FOREIGN).parent.mkdir(parents=True)
    data.fit_foreign(bench.model(FOREIGN))
    _log_with_mlflow(bench.model(LOGISTIC))


def _write_with_engine(bench: Bench, text: str, table: str, name: str) -> None:
    """Write a job that is scored by the database, into a table of its own."""
    text = text.replace(table, f"{name}_predictions").replace("[run]", '[run]\nengine = "database"')
    (bench.folder / "jobs" / f"{name}.toml").write_text(text, encoding="utf-8")


def _log_with_mlflow(model_file: Path) -> None:
    import joblib
    import mlflow.sklearn

    mlflow.sklearn.save_model(
        joblib.load(model_file),
        str(model_file.parent / "mlflow_model"),
        pyfunc_predict_fn="predict_proba",
        serialization_format="cloudpickle",
        pip_requirements=["scikit-learn"],
    )


def set_up(bench: Bench, url: str, algorithms: Sequence[str]) -> None:
    """Create the tables of this project and register the models, in a database with applicants."""
    database = Database(url)
    upgrade.upgrade(database, load_jobs(bench.folder / "jobs"))
    sample = bench.folder / "sample.csv"
    data.history().head(2_000).to_csv(sample, index=False)
    for algorithm in algorithms:
        artifacts = bench.folder / "artifacts"
        register_file(database, artifacts, bench.model(algorithm), name=algorithm, sample=sample, alias="champion")
    database.dispose()


def compare(bench: Bench, algorithms: list[Algorithm], peers: tuple[str, ...]) -> None:
    """Measure this project and its peers on the same rows, interleaved; then change every row and score it again."""
    database = "speed"
    url = bench.server.create(database)
    data.fill_postgres(url, bench.rows)
    set_up(bench, url, [LOGISTIC, BOOSTING])
    sql = partial(bench.server.execute, database)
    for algorithm in algorithms:
        report_progress(f"{bench.rows:,} applicants on PostgreSQL, {algorithm}")
        target = f"{algorithm}_predictions"
        for repetition in range(bench.repetitions):
            empty(bench, database, target)
            sql("CHECKPOINT")
            bench.ours(f"{algorithm}/batch_scoring", url, algorithm)
            if algorithm is LOGISTIC:
                empty(bench, database, "in_database_predictions")
                sql("CHECKPOINT")
                bench.ours(f"{algorithm}/{IN_DATABASE}", url, "in_database")
            for peer in peers:
                if peer in SLOW_PEERS and (repetition or algorithm is not LOGISTIC):
                    continue
                sql(f"DROP TABLE IF EXISTS {TARGET}")
                sql(
                    f'CREATE TABLE {TARGET} ("{KEY}" TEXT PRIMARY KEY, score DOUBLE PRECISION, prediction TEXT,'
                    " model_version BIGINT, scored_at TIMESTAMPTZ)"
                )
                sql("CHECKPOINT")
                bench.peer(f"{algorithm}/{peer}", peer, url, algorithm)
                if peer != "model_alone":
                    _check_same_scores(sql, target, peer, bench.rows)
            sql(f"DROP TABLE IF EXISTS {TARGET}")
            if algorithm is LOGISTIC:
                for measure, job in SUPERSEDING.items():
                    sql("UPDATE applicants SET updated_at = updated_at + interval '1 day'")
                    sql("VACUUM ANALYZE applicants")
                    sql("CHECKPOINT")
                    again = bench.ours(measure, url, *job)
                    _expect(again["superseded"] == bench.rows, "every row is superseded")
                sql(f"CREATE TABLE {TARGET} AS SELECT * FROM {target}")
                sql("CHECKPOINT")
                bench.peer("replacing every row", REPLACING, url, algorithm)
                sql(f"DROP TABLE {TARGET}")
    bench.server.execute("postgres", f"DROP DATABASE {database}")


def inputs(bench: Bench) -> None:
    """Measure what it takes to store the inputs of the model, in either engine."""
    report_progress(f"{bench.rows:,} applicants, with their inputs stored or not")
    url = bench.server.create("inputs")
    data.fill_postgres(url, bench.rows)
    set_up(bench, url, [LOGISTIC])
    sql = partial(bench.server.execute, "inputs")
    for _ in range(bench.repetitions):
        for measure, job, target in STORING:
            empty(bench, "inputs", target)
            sql(f"DROP TABLE IF EXISTS {target}_inputs")
            sql("CHECKPOINT")
            scored = bench.ours(f"inputs/{measure}", url, job)
            if measure.startswith("stored"):
                ((stored,),) = sql(f"SELECT count(*) FROM {target}_inputs")
                _expect(stored == scored["scored"] == bench.rows, "the inputs of every row are stored")
    bench.server.execute("postgres", "DROP DATABASE inputs")


def challengers(bench: Bench) -> None:
    """Measure what a challenger of the same kind costs, in either engine."""
    import joblib

    report_progress(f"{bench.rows:,} applicants, with a challenger or without")
    url = bench.server.create("challengers")
    data.fill_postgres(url, bench.rows)
    set_up(bench, url, [LOGISTIC])
    model = joblib.load(bench.model(LOGISTIC))
    model[-1].coef_ = model[-1].coef_ * 1.001
    bench.model(CHALLENGER).parent.mkdir(parents=True)
    joblib.dump(model, bench.model(CHALLENGER))
    database = Database(url)
    sample, artifacts = bench.folder / "sample.csv", bench.folder / "artifacts"
    register_file(database, artifacts, bench.model(CHALLENGER), name=LOGISTIC, sample=sample, alias=CHALLENGER)
    database.dispose()
    sql = partial(bench.server.execute, "challengers")
    for _ in range(bench.repetitions):
        for measure, job, target in CHALLENGED:
            empty(bench, "challengers", target)
            sql(f"TRUNCATE {target}_challengers")
            sql("CHECKPOINT")
            bench.ours(f"challengers/{measure}", url, job)
            ((found,),) = sql(f"SELECT count(*) FROM {target}_challengers")
            _expect(found == (bench.rows if "with" in measure else 0), "the challenger scores every row")
    bench.server.execute("postgres", "DROP DATABASE challengers")


def profiles(bench: Bench) -> None:
    """Measure what it costs to count what is read and predicted, against a model without a reference."""
    report_progress(f"{bench.rows:,} applicants, counted or not")
    url = bench.server.create("profiles")
    data.fill_postgres(url, bench.rows)
    set_up(bench, url, [LOGISTIC])
    database = Database(url)
    sample, artifacts = bench.folder / "sample.csv", bench.folder / "artifacts"
    register_file(database, artifacts, bench.model(LOGISTIC), name="uncounted", sample=sample, alias=None)
    database.dispose()
    sql = partial(bench.server.execute, "profiles")
    sql("UPDATE model_versions SET manifest = manifest::jsonb - 'reference' WHERE name = 'uncounted'")
    for _ in range(bench.repetitions):
        for measure, job, target in COUNTED:
            empty(bench, "profiles", target)
            sql("TRUNCATE scoring_profiles")
            sql("CHECKPOINT")
            bench.ours(f"profiles/{measure}", url, job)
            ((found,),) = sql("SELECT coalesce(sum(read_count), 0) FROM scoring_profiles")
            _expect(found == (0 if "not" in measure else bench.rows), "every row is counted")
    bench.server.execute("postgres", "DROP DATABASE profiles")


def foreign(bench: Bench) -> None:
    """Measure a pipeline of scikit-learn's own parts, on tables as others have them."""
    for key in data.KEYS:
        report_progress(f"{bench.rows:,} applicants with a key of type {key}, and a pipeline of scikit-learn's parts")
        url = bench.server.create("foreign_key")
        data.fill_postgres(url, bench.rows)
        data.as_others_have_it(url, key)
        set_up(bench, url, [FOREIGN])
        sql = partial(bench.server.execute, "foreign_key")
        for _ in range(bench.repetitions):
            for job, shown in ((FOREIGN, "batch_scoring"), (f"{FOREIGN}_in_database", IN_DATABASE)):
                empty(bench, "foreign_key", f"{job}_predictions")
                sql("CHECKPOINT")
                bench.ours(f"{FOREIGN}, {key}/{shown}", url, job)
            for peer in ("pandas_at_once", "hand_written"):
                sql(f"DROP TABLE IF EXISTS {TARGET}")
                sql(
                    f'CREATE TABLE {TARGET} ("{KEY}" {key} PRIMARY KEY, score DOUBLE PRECISION, prediction TEXT,'
                    " model_version BIGINT, scored_at TIMESTAMPTZ)"
                )
                sql("CHECKPOINT")
                bench.peer(f"{FOREIGN}, {key}/{peer}", peer, url, FOREIGN)
                _check_same_scores(sql, f"{FOREIGN}_in_database_predictions", peer, bench.rows)
        bench.server.execute("postgres", "DROP DATABASE foreign_key")


def empty(bench: Bench, database: str, target: str) -> None:
    """Empty the tables of a job, which only a superuser can do, since triggers preserve what was predicted."""
    tables = ", ".join(f"{target}{suffix}" for suffix in ("", "_superseded", "_quarantine", "_quarantine_closed"))
    bench.server.execute(database, f"SET session_replication_role = replica; TRUNCATE {tables}")


def _check_same_scores(sql: Callable[[str], list[tuple[Any, ...]]], target: str, peer: str, rows: int) -> None:
    ((matched, off, labels),) = sql(
        f"SELECT count(*), max(abs(p.score - q.score)), count(*) FILTER (WHERE p.prediction <> q.prediction)"
        f' FROM {TARGET} AS p JOIN {target} AS q ON q."{KEY}" = p."{KEY}"'
    )
    _expect(matched == rows and off <= TOLERANCE and labels == 0, f"{peer} gives the same scores (off by {off})")


def _expect(holds: bool, claim: str) -> None:
    if not holds:
        raise SystemExit(f"the benchmark is invalid, because this does not hold: {claim}")


def large_tables(bench: Bench) -> None:
    """Measure memory and time on a larger table, and with new rows among many scored ones."""
    for name, rows in (("large", bench.large), ("small", bench.small)):
        report_progress(f"{rows:,} applicants, then {NEW_ROWS:,} new ones at a time")
        url = bench.server.create(name)
        data.fill_postgres(url, rows)
        set_up(bench, url, [LOGISTIC])
        bench.ours(f"{name}/first", url, "windowed")
        bench.server.execute(name, "VACUUM ANALYZE")
        if name == "large":
            ask(bench, name)
        for repetition in range(bench.repetitions):
            data.add_to_postgres(url, rows + 1 + repetition * NEW_ROWS, NEW_ROWS)
            new = bench.ours(f"{name}/new rows", url, "windowed")
            _expect((new["scored"], new["mode"]) == (NEW_ROWS, "lookback"), "a lookback run scores the new rows")
        for _ in range(bench.repetitions):
            bench.server.execute(name, "UPDATE scoring_runs SET started_at = started_at - interval '3 days'")
            swept = bench.ours(f"{name}/sweep", url, "windowed")
            _expect((swept["scored"], swept["mode"]) == (0, "sweep"), "a sweep finds nothing")
        if name == "small":
            bench.server.execute("postgres", f"DROP DATABASE {name}")
    bench.server.execute("postgres", "DROP DATABASE large")


def history(bench: Bench) -> None:
    """Measure runs on two databases that differ in how often each prediction has been superseded."""
    report_progress(f"{bench.history:,} applicants with {DEPTHS[0]} and with {DEPTHS[1]} predictions each")
    urls = {}
    for depth in DEPTHS:
        name = f"deep_{depth}"
        urls[depth] = bench.server.create(name)
        data.fill_postgres(urls[depth], bench.history)
        set_up(bench, urls[depth], [LOGISTIC])
        bench.ours(f"history/first, {depth} deep", urls[depth], LOGISTIC)
        data.deepen(urls[depth], f"{LOGISTIC}_predictions", depth)
    for repetition in range(bench.repetitions):
        for depth in DEPTHS if repetition % 2 else DEPTHS[::-1]:
            url, name = urls[depth], f"deep_{depth}"
            idle = bench.ours(f"history/nothing due, {depth} deep", url, LOGISTIC)
            data.change(url, CHANGED_ROWS, seed=repetition)
            bench.server.execute(name, "VACUUM ANALYZE")
            changed = bench.ours(f"history/changed rows, {depth} deep", url, LOGISTIC)
            _expect((idle["scored"], changed["superseded"]) == (0, CHANGED_ROWS), "the changed rows are superseded")
    for depth in DEPTHS:
        bench.server.execute("postgres", f"DROP DATABASE deep_{depth}")


def ask(bench: Bench, database: str) -> None:
    """What BI asks of a large predictions table, on a connection that is open already."""
    import psycopg2

    connection = psycopg2.connect(bench.server.url(database))
    connection.autocommit = True
    cursor = connection.cursor()

    def asked(measure: str, query: str, *values: str) -> None:
        started = time.perf_counter()
        cursor.execute(query, values)
        _expect(bool(cursor.fetchall()), f"{measure} is answered")
        bench.measured[measure].append({"seconds": time.perf_counter() - started, "peak_mib": 0})

    cursor.execute(f'SELECT "{KEY}" FROM windowed_predictions TABLESAMPLE SYSTEM (1) LIMIT {_LOOKUPS}')
    for (key,) in cursor.fetchall():
        asked("current prediction by key", f'SELECT * FROM windowed_predictions_current WHERE "{KEY}" = %s', key)
    for _ in range(bench.repetitions):
        asked("daily view", "SELECT * FROM windowed_predictions_daily")
    connection.close()


def forest(bench: Bench) -> None:
    """Measure a model that dominates the run time, with one worker process and with two."""
    report_progress(f"random forest of {data.TREES} trees, {bench.rows:,} applicants")
    url = bench.server.create("forest")
    data.fill_postgres(url, bench.rows)
    set_up(bench, url, [FOREST])
    target = f"{FOREST}_predictions"
    for _ in range(bench.repetitions):
        for workers in ("1", "2"):
            empty(bench, "forest", target)
            bench.server.execute("forest", "CHECKPOINT")
            bench.ours(f"forest/{workers} workers", url, FOREST, workers)
    bench.server.execute("postgres", "DROP DATABASE forest")


def sqlite(bench: Bench) -> None:
    """Measure the embedded database, compared with pandas."""
    report_progress(f"{bench.sqlite_rows:,} applicants on SQLite")
    filled = bench.folder / "filled.db"
    data.fill_sqlite(filled, bench.sqlite_rows)
    set_up(bench, f"sqlite:///{filled}", [LOGISTIC])
    for _ in range(bench.repetitions):
        for contender in ("batch_scoring", IN_DATABASE, "pandas_at_once"):
            file = bench.folder / "repetition.db"
            for suffix in ("", "-wal", "-shm"):
                Path(f"{file}{suffix}").unlink(missing_ok=True)
            shutil.copy(filled, file)
            if contender == "pandas_at_once":
                bench.peer(f"sqlite/{contender}", contender, f"sqlite:///{file}", LOGISTIC)
            else:
                job = "in_database" if contender == IN_DATABASE else LOGISTIC
                bench.ours(f"sqlite/{contender}", f"sqlite:///{file}", job)


def machine() -> dict[str, Any]:
    """The machine and the library versions."""
    libraries = ("scikit-learn", "pandas", "pyarrow", "numpy", "sqlalchemy", "psycopg2-binary", "polars", "mlflow")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processors": os.cpu_count(),
        "memory_gib": round(memory / 2**30),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in (*libraries, "adbc-driver-postgresql")},
    }


MEASURES: dict[str, Callable[[Bench], None]] = {
    "inputs": inputs,
    "challengers": challengers,
    "profiles": profiles,
    "foreign": foreign,
    "large": large_tables,
    "history": history,
    "forest": forest,
    "sqlite": sqlite,
}


def main() -> None:
    """Measure everything, or the parts given with --only."""
    parser = argparse.ArgumentParser(description="Measure this project and its alternatives.")
    parser.add_argument("--rows", type=int, default=1_000_000, help="applicants of the comparison")
    parser.add_argument("--large", type=int, default=4_000_000, help="applicants of the large table")
    parser.add_argument("--small", type=int, default=100_000, help="applicants of the small table")
    parser.add_argument("--sqlite-rows", type=int, default=500_000, help="applicants on SQLite")
    parser.add_argument("--history", type=int, default=200_000, help="applicants with a deep history")
    parser.add_argument("--repetitions", type=int, default=5, help="repetitions of each measurement")
    parser.add_argument("--only", choices=PARTS, action="append", help="only these parts")
    chosen = parser.parse_args()
    parts = chosen.only or PARTS
    started = time.time()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, postgres() as server:
        bench = Bench(
            folder=Path(folder),
            server=server,
            rows=chosen.rows,
            large=chosen.large,
            small=chosen.small,
            sqlite_rows=chosen.sqlite_rows,
            history=chosen.history,
            repetitions=chosen.repetitions,
        )
        ((server_version,),) = server.execute("postgres", "SHOW server_version")
        prepare(bench, [LOGISTIC, BOOSTING, *([FOREST] if "forest" in parts else [])])
        if "compare" in parts:
            compare(bench, [LOGISTIC, BOOSTING], tuple(name for name in PEERS if name != REPLACING))
        for part, measure in MEASURES.items():
            if part in parts:
                measure(bench)
        if "start" in parts:
            bench.measured["start"] = [{"name": name, "seconds": taken} for name, taken in start.measure().items()]
        results = {
            "date": time.strftime("%Y-%m-%d", time.gmtime(started)),
            "minutes": round((time.time() - started) / 60, 1),
            "machine": machine() | {"postgresql": server_version.split()[0]},
            "rows": {
                "compare": bench.rows,
                "large": bench.large,
                "small": bench.small,
                "new": NEW_ROWS,
                "forest": bench.rows,
                "sqlite": bench.sqlite_rows,
                "history": bench.history,
            },
            "trees": data.TREES,
            "measured": bench.measured,
        }
    earlier = json.loads(RESULTS.read_text()) if RESULTS.exists() and chosen.only else None
    if earlier is not None:  # keep the results of the other parts
        results["measured"] = earlier["measured"] | results["measured"]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(write_report(results))


if __name__ == "__main__":
    main()
