"""The results of ``make bench`` as a page and a chart."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent.parent / "docs"
CHART = "benchmarks.svg"

CONTENDERS = {
    "batch_scoring": "batch_scoring",
    "database engine": "batch_scoring, database engine",
    "hand_written": "hand-written loop",
    "polars_adbc": "Polars with ADBC",
    "pandas_at_once": "read_sql, to_sql",
    "mlflow_pyfunc": "MLflow pyfunc, pandas",
    "pandas_in_chunks": "read_sql, to_sql in chunks",
    "model_alone": "model alone, in memory",
}
ALGORITHMS = {"logistic_regression": "logistic regression", "hist_gradient_boosting": "histogram gradient boosting"}
IN_DATABASE = "database engine"
FOREIGN = {
    "foreign, BIGINT": "scikit-learn's own parts, key of type bigint",
    "foreign, UUID": "scikit-learn's own parts, key of type uuid",
}

_OTHERS = (
    *("large", "small", "history", "forest", "sqlite", "inputs", "challengers", "profiles"),
    *("superseding every row", "superseding every row, 2 workers", "superseding every row, database engine"),
    "replacing every row",
)
"""The parts of the names of measurements that have no table of their own."""

Measured = Mapping[str, Sequence[Mapping[str, Any]]]


def _seconds(measured: Measured, name: str, of: str = "seconds") -> float:
    return float(statistics.median(result[of] for result in measured[name]))


def _spread(values: Sequence[float], digits: int = 1) -> str:
    low, high = min(values), max(values)
    return f"{statistics.median(values):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


class _Targets:
    """The rows of the table of targets."""

    def __init__(self, results: Mapping[str, Any]) -> None:
        self.measured: Measured = results["measured"]
        self.rows: Mapping[str, int] = results["rows"]
        self.trees = results["trees"]
        self.found: list[tuple[str, str, str, str]] = []

    def row(self, needed: Sequence[str], claim: str, wanted: tuple[str, str], value: Callable[[], str]) -> None:
        """Add a row, unless a measurement that it needs was not taken."""
        if all(name in self.measured for name in needed):
            self.found.append((claim, *wanted, value()))

    def times(self, slower: str, faster: str, claim: str, wanted: tuple[str, str], *, of: str = "seconds") -> None:
        """Add the ratio of two durations."""

        def ratio() -> str:
            return f"{_seconds(self.measured, slower, of) / _seconds(self.measured, faster, of):.3f}×"

        self.row([slower, faster], claim, wanted, ratio)

    def peak(self, name: str) -> float:
        """Peak memory in MiB."""
        return float(max(result["peak_mib"] for result in self.measured[name]))

    def processor(self, name: str) -> float:
        """Processor seconds of the process and the server."""
        used = [found["processor_seconds"] + found["server_processor_seconds"] for found in self.measured[name]]
        return float(statistics.median(used))


_PEERS = ("pandas_at_once", "polars_adbc", "hand_written")
_ONE, _MANY = "logistic_regression/batch_scoring", "large/first"
_ENGINE = "logistic_regression/database engine"


def ratios(results: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """The targets: measure, target, stretch target, measured value. Parts without measurements are left out."""
    targets = _Targets(results)
    _against_peers(targets)
    _of_the_database_engine(targets)
    _of_large_tables(targets)
    _of_superseding(targets)
    _of_queries(targets)
    return targets.found


def _against_peers(targets: _Targets) -> None:
    wanted = {
        "logistic_regression": (("≥ 12×", "14×"), ("≥ 1.8×", "2.2×"), ("≥ 1.5×", "1.8×")),
        "hist_gradient_boosting": (("≥ 8×", ""), ("≥ 1.6×", ""), ("≥ 1.25×", "")),
    }
    for algorithm, of_peers in wanted.items():
        for peer, target in zip(_PEERS, of_peers, strict=True):
            claim = f"{ALGORITHMS[algorithm]}: against {CONTENDERS[peer]}"
            targets.times(f"{algorithm}/{peer}", f"{algorithm}/batch_scoring", claim, target)
    for case, shown in FOREIGN.items():
        for peer, target in (("pandas_at_once", ("≥ 6×", "8×")), ("hand_written", ("≥ 1.5×", "2×"))):
            targets.times(f"{case}/{peer}", f"{case}/batch_scoring", f"{shown}: against {CONTENDERS[peer]}", target)
    claim = f"SQLite, {targets.rows['sqlite']:,} rows: against read_sql, to_sql"
    targets.times("sqlite/pandas_at_once", "sqlite/batch_scoring", claim, ("≥ 2×", "3×"))


def _of_the_database_engine(targets: _Targets) -> None:
    for peer, target in zip(_PEERS, (("≥ 18×", "25×"), ("≥ 3×", "4×"), ("≥ 2.2×", "3×")), strict=True):
        claim = f"database engine, logistic regression: against {CONTENDERS[peer]}"
        targets.times(f"logistic_regression/{peer}", _ENGINE, claim, target)
    for case, shown in FOREIGN.items():
        for peer, target in (("pandas_at_once", ("≥ 14×", "20×")), ("hand_written", ("≥ 3×", "4×"))):
            claim = f"database engine, {shown}: against {CONTENDERS[peer]}"
            targets.times(f"{case}/{peer}", f"{case}/{IN_DATABASE}", claim, target)
    claim = f"database engine, SQLite, {targets.rows['sqlite']:,} rows: against read_sql, to_sql"
    targets.times("sqlite/pandas_at_once", f"sqlite/{IN_DATABASE}", claim, ("≥ 4×", "8×"))
    targets.row(
        [_ENGINE, _ONE],
        "database engine: processor time of process and server, against the Python engine",
        ("≤ 0.6×", "0.45×"),
        lambda: f"{targets.processor(_ENGINE) / targets.processor(_ONE):.3f}×",
    )
    targets.row(
        [_ENGINE],
        "database engine: peak memory",
        ("≤ 200 MB", ""),
        lambda: f"{targets.peak(_ENGINE) * 1.048576:.0f} MB",
    )


def _of_large_tables(targets: _Targets) -> None:
    rows = targets.rows
    targets.row(
        [_ONE, _MANY],
        f"peak memory at {rows['large']:,} rows",
        ("≤ 450 MB", ""),
        lambda: f"{targets.peak(_MANY) * 1.048576:.0f} MB",
    )
    targets.row(
        [_ONE, _MANY],
        f"the same against {rows['compare']:,} rows",
        ("≤ 1.15×", ""),
        lambda: f"{targets.peak(_MANY) / targets.peak(_ONE):.3f}×",
    )
    targets.times(
        "large/new rows",
        "small/new rows",
        f"{rows['new']:,} new rows, lookback: {rows['large']:,} scored against {rows['small']:,}",
        ("≤ 1.5×", "1.1×"),
    )
    targets.row(
        ["large/sweep"],
        f"full sweep of {rows['large']:,} scored rows, nothing due",
        ("≤ 5 s", "2 s"),
        lambda: f"{_seconds(targets.measured, 'large/sweep'):.2f} s",
    )
    claim = f"random forest of {targets.trees} trees: 2 workers against 1"
    targets.times("forest/1 workers", "forest/2 workers", claim, ("≥ 1.6×", "1.9×"))


def _of_superseding(targets: _Targets) -> None:
    again = "superseding every row"
    targets.times(_ONE, again, "superseding every row, against first scoring", ("≥ 0.45×", "0.6×"))
    in_database = f"{again}, {IN_DATABASE}"
    claim = "superseding every row, against first scoring, database engine"
    targets.times(_ENGINE, in_database, claim, ("≥ 0.45×", "0.6×"))
    claim = "superseding every row: against to_sql that replaces the table"
    targets.times("replacing every row", again, claim, ("≥ 4×", "6×"))
    targets.times("replacing every row", in_database, f"{claim}, database engine", ("≥ 4×", "6×"))
    targets.times(again, f"{again}, 2 workers", "superseding every row: 2 workers against 1", ("≥ 1.4×", "1.7×"))
    for what in ("nothing due", "changed rows"):
        claim = f"{what} of {targets.rows.get('history', 0):,}: 50 predictions a key against 1"
        targets.times(f"history/{what}, 50 deep", f"history/{what}, 1 deep", claim, ("≤ 1.1×", "1.05×"))
    for engine, wanted in (("", "≤ 1.8×"), (f", {IN_DATABASE}", "≤ 1.4×")):
        alone, challenged = f"challengers/champion alone{engine}", f"challengers/with a challenger{engine}"
        claim = f"a champion with a challenger, against it alone{engine}"
        # a challenger imports its libraries while it is waited for; the champion's were imported before its run began
        targets.times(challenged, alone, f"{claim}, process start to exit", (wanted, ""), of="process_seconds")
        targets.times(challenged, alone, f"{claim}, the run alone", ("", ""))
    for engine, bounds in (("", ("≥ 0.95×", "")), (f", {IN_DATABASE}", ("≥ 0.75×", "0.95×"))):
        claim = f"counting what is read and predicted, against not counting it{engine}"
        targets.times(f"profiles/not counted{engine}", f"profiles/counted{engine}", claim, bounds)
    for engine in ("", f", {IN_DATABASE}"):
        claim = f"storing the inputs, against not storing them{engine}"
        targets.times(f"inputs/not stored{engine}", f"inputs/stored{engine}", claim, ("≥ 0.55×", ""))


def _of_queries(targets: _Targets) -> None:
    measured, large = targets.measured, f"{targets.rows['large']:,}"
    key, daily = "current prediction by key", "daily view"
    targets.row([key], f"{key}, {large} rows", ("≤ 5 ms", ""), lambda: f"{_seconds(measured, key) * 1000:.2f} ms")
    targets.row(
        [daily], f"predictions_daily over {large} rows", ("≤ 3 s", ""), lambda: f"{_seconds(measured, daily):.2f} s"
    )
    for result in measured.get("start", ()):
        if result["name"].startswith("a run with nothing due"):
            seconds = f"{statistics.median(result['seconds']):.2f} s"
            targets.found.append(("a run with nothing due, process start to exit", "≤ 0.8 s", "0.4 s", seconds))


def write_report(results: Mapping[str, Any]) -> str:
    """Write ``docs/benchmarks.md`` and its chart; returns the table of targets."""
    targets = _table(["measure", "target", "stretch", "measured"], ratios(results))
    page = _PAGE.format(
        date=results["date"],
        minutes=results["minutes"],
        processors=results["machine"]["processors"],
        memory=results["machine"]["memory_gib"],
        postgresql=results["machine"]["postgresql"],
        python=results["machine"]["python"],
        libraries=", ".join(f"{name} {version}" for name, version in results["machine"]["libraries"].items()),
        rows=f"{results['rows']['compare']:,}",
        chart=CHART,
        targets=targets,
        contenders="\n\n".join(_contenders(results, name) for name in (ALGORITHMS | FOREIGN)),
        stages=_stages(results),
        others=_others(results),
    )
    (DOCS / "benchmarks.md").write_text(page, encoding="utf-8")
    _draw(results, DOCS / CHART)
    return targets


def _contenders(results: Mapping[str, Any], algorithm: str) -> str:
    measured, rows = results["measured"], results["rows"]["compare"]
    lines = []
    for peer, shown in CONTENDERS.items():
        found = measured.get(f"{algorithm}/{peer}")
        if found:
            seconds = [result["seconds"] for result in found]
            process_seconds = statistics.median(result["process_seconds"] for result in found)
            peak = max(result["peak_mib"] for result in found)
            rate = f"{rows / statistics.median(seconds):,.0f}"
            process = "" if peer == "model_alone" else f"{process_seconds:.1f}"
            lines.append((shown, rate, _spread(seconds), str(len(found)), process, f"{peak:,.0f}"))
    head = ["", "rows/s", "seconds, median (from, to)", "repetitions", "whole process, s", "peak memory, MiB"]
    shown = (ALGORITHMS | FOREIGN)[algorithm]
    return f"{shown[0].upper()}{shown[1:]}:\n\n{_table(head, lines)}" if lines else ""


def _stages(results: Mapping[str, Any]) -> str:
    measured = results["measured"]
    lines = []
    for name, shown in (
        ("logistic_regression/batch_scoring", "logistic regression"),
        ("hist_gradient_boosting/batch_scoring", "histogram gradient boosting"),
        ("logistic_regression/database engine", "logistic regression, database engine"),
        ("superseding every row", "superseding every row"),
        ("superseding every row, 2 workers", "superseding every row, 2 workers"),
        ("superseding every row, database engine", "superseding every row, database engine"),
        ("inputs/stored", "storing inputs"),
        ("inputs/stored, database engine", "storing inputs, database engine"),
        ("forest/1 workers", "random forest, 1 worker"),
        ("sqlite/batch_scoring", "SQLite"),
        ("sqlite/database engine", "SQLite, database engine"),
    ):
        if name in measured:
            found = sorted(measured[name], key=lambda result: result["seconds"])[len(measured[name]) // 2]
            stages = [f"{found['stages'].get(stage, 0):.1f}" for stage in ("read", "score", "write")]
            processor = [
                f"{found[where]:.1f}" if where in found else ""
                for where in ("processor_seconds", "server_processor_seconds")
            ]
            lines.append((shown, f"{found['seconds']:.1f}", *stages, *processor, str(found["chunks"])))
    head = ["run", "seconds", "read", "score", "write", "processor", "server", "chunks"]
    shown_columns = [i for i in range(len(head)) if any(line[i] for line in lines)]
    table = _table([head[i] for i in shown_columns], [[line[i] for i in shown_columns] for line in lines])
    return f"{table}\n\n{_PROCESSOR}" if "processor" in (head[i] for i in shown_columns) else table


def _others(results: Mapping[str, Any]) -> str:
    measured = results["measured"]
    lines = [
        (
            name,
            _spread([result["seconds"] for result in found], 2),
            f"{max(r['peak_mib'] for r in found):,.0f}",
        )
        for name, found in measured.items()
        if name.partition("/")[0] in _OTHERS
    ]
    lines += [(result["name"], _spread(result["seconds"], 2), "") for result in measured.get("start", [])]
    return _table(["measure", "seconds, median (from, to)", "peak memory, MiB"], lines)


_PROCESSOR = (
    '"processor" is the processor time of the process, "server" that of PostgreSQL during the run. A run takes at\n'
    "least their sum divided by the number of processors."
)


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _draw(results: Mapping[str, Any], file: Path) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams |= {"svg.hashsalt": "batch_scoring", "font.size": 10}
    from matplotlib import pyplot as plt

    measured, rows = results["measured"], results["rows"]["compare"]
    shown = [name for name in CONTENDERS if name != "model_alone"]
    found = {algorithm: [name for name in shown if f"{algorithm}/{name}" in measured] for algorithm in ALGORITHMS}
    found = {algorithm: names for algorithm, names in found.items() if names}
    if not found:
        return
    heights = [len(names) for names in found.values()]
    figure, axes = plt.subplots(
        len(found), 1, figsize=(8, 0.9 + 0.42 * sum(heights)), sharex=True, squeeze=False, height_ratios=heights
    )
    for axis, (algorithm, names) in zip(axes[:, 0], found.items(), strict=True):
        rates = [rows / _seconds(measured, f"{algorithm}/{name}") for name in names]
        colours = ["#1b6ca8" if name == "batch_scoring" else "#b8bec4" for name in names]
        bars = axis.barh([CONTENDERS[name] for name in names], rates, color=colours)
        axis.bar_label(bars, labels=[f"{rate:,.0f}" for rate in rates], padding=4)
        axis.invert_yaxis()
        axis.set_title(f"{ALGORITHMS[algorithm]}", loc="left", fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0.15)
    axes[-1, 0].set_xlabel(f"rows scored per second, PostgreSQL, {rows:,} rows; longer is faster")
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)


_PAGE = """\
# Benchmarks

The cost of a run, compared with alternatives. Written by `make bench` on {date} in {minutes} minutes: {processors}
processors, {memory} GiB, PostgreSQL {postgresql} on the same machine with its default settings, Python {python},
{libraries}.
Machines differ and this one is shared. Compare the ratios rather than the absolute figures: they come from interleaved
repetitions. Repeat the benchmark on your own machine if it matters to you.

![rows per second]({chart})

## Targets

{targets}

## {rows} applicants on PostgreSQL

All contenders read the same table and score with the same fitted pipeline. The scores of each are compared with those
of this project by key; they must agree within 1e-9. The peers write five columns (key, score, prediction, model
version, timestamp) to a table with the applicant as primary key, and nothing else. This project does everything that a
run does: it determines the due rows, checks each value, verifies the model by its golden rows, holds the fence, counts,
and writes predictions with their validity periods. Seconds exclude imports; "whole process" includes them.

{contenders}

## Where the time goes

Seconds by stage, summed over the chunks of the median run. Stages of adjacent chunks overlap, so their sum is larger
than the duration of the run. Each stage uses the database and the process, and on two processors the three stages
compete for both.

{stages}

## Other measurements

{others}

## Repeating the benchmark

<!-- not run by tests: it takes a quarter of an hour and an environment of its own -->
```sh
make bench                                          # everything: a quarter of an hour or more
.venv-bench/bin/python -m benchmarks.speed --help   # sizes, repetitions, parts
```

It starts its own PostgreSQL server and stops it at the end. `benchmarks/data.py` generates the applicants from fixed
seeds, `benchmarks/peers.py` contains the peers, and `benchmarks/results/latest.json` contains every measurement.
"""
