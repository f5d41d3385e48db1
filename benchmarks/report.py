"""The results of ``make bench`` as a page and a chart."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent.parent / "docs"
CHART = "benchmarks.svg"

CONTENDERS = {
    "batch_scoring": "batch_scoring",
    "hand_written": "hand-written loop",
    "polars_adbc": "Polars with ADBC",
    "pandas_at_once": "read_sql, to_sql",
    "mlflow_pyfunc": "MLflow pyfunc, pandas",
    "pandas_in_chunks": "read_sql, to_sql in chunks",
    "model_alone": "model alone, in memory",
}
ALGORITHMS = {"logistic_regression": "logistic regression", "hist_gradient_boosting": "histogram gradient boosting"}

_OTHERS = (
    *("large", "small", "history", "forest", "sqlite"),
    *("superseding every row", "replacing every row", "keeping inputs"),
)
"""The parts of the names of measurements that have no table of their own."""

Measured = Mapping[str, Sequence[Mapping[str, Any]]]


def _seconds(measured: Measured, name: str) -> float:
    return float(statistics.median(result["seconds"] for result in measured[name]))


def _spread(values: Sequence[float], digits: int = 1) -> str:
    low, high = min(values), max(values)
    return f"{statistics.median(values):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def ratios(results: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """The targets: measure, target, stretch target, measured value. Parts without measurements are left out."""
    measured, rows = results["measured"], results["rows"]
    found: list[tuple[str, str, str, str]] = []

    def row(needed: Sequence[str], claim: str, target: str, stretch: str, value: Any) -> None:
        if all(name in measured for name in needed):
            found.append((claim, target, stretch, value()))

    def times(slower: str, faster: str) -> Any:
        return lambda: f"{_seconds(measured, slower) / _seconds(measured, faster):.3f}×"

    targets = {
        "logistic_regression": (("≥ 10×", "15×"), ("≥ 2×", "3×"), ("≥ 1.2×", "1.5×")),
        "hist_gradient_boosting": (("≥ 8×", ""), ("≥ 1.6×", ""), ("≥ 1.2×", "")),
    }
    for algorithm, wanted in targets.items():
        ours = f"{algorithm}/batch_scoring"
        for peer, (target, stretch) in zip(("pandas_at_once", "polars_adbc", "hand_written"), wanted, strict=True):
            theirs = f"{algorithm}/{peer}"
            claim = f"{ALGORITHMS[algorithm]}: against {CONTENDERS[peer]}"
            row([ours, theirs], claim, target, stretch, times(theirs, ours))
    row(
        ["sqlite/batch_scoring", "sqlite/pandas_at_once"],
        f"SQLite, {rows['sqlite']:,} rows: against read_sql, to_sql",
        "≥ 2×",
        "3×",
        times("sqlite/pandas_at_once", "sqlite/batch_scoring"),
    )

    def peak(name: str) -> float:
        return float(max(result["peak_mib"] for result in measured[name]))

    one, many = "logistic_regression/batch_scoring", "large/first"
    row(
        [one, many], f"peak memory at {rows['large']:,} rows", "≤ 450 MB", "", lambda: f"{peak(many) * 1.048576:.0f} MB"
    )
    row(
        [one, many],
        f"the same against {rows['compare']:,} rows",
        "≤ 1.15×",
        "",
        lambda: f"{peak(many) / peak(one):.3f}×",
    )
    row(
        ["large/new rows", "small/new rows"],
        f"{rows['new']:,} new rows, lookback: {rows['large']:,} scored against {rows['small']:,}",
        "≤ 1.5×",
        "1.1×",
        times("large/new rows", "small/new rows"),
    )
    row(
        ["large/sweep"],
        f"full sweep of {rows['large']:,} scored rows, nothing due",
        "≤ 5 s",
        "2 s",
        lambda: f"{_seconds(measured, 'large/sweep'):.2f} s",
    )
    row(
        ["forest/1 workers", "forest/2 workers"],
        f"random forest of {results['trees']} trees: 2 workers against 1",
        "≥ 1.6×",
        "1.9×",
        times("forest/1 workers", "forest/2 workers"),
    )
    row(
        [one, "superseding every row"],
        "superseding every row, against first scoring",
        "≥ 0.4×",
        "0.6×",
        times(one, "superseding every row"),
    )
    row(
        ["replacing every row", "superseding every row"],
        "superseding every row: against to_sql that replaces the table",
        "≥ 4×",
        "6×",
        times("replacing every row", "superseding every row"),
    )
    for what in ("nothing due", "changed rows"):
        deep, flat = f"history/{what}, 50 deep", f"history/{what}, 1 deep"
        row(
            [deep, flat],
            f"{what} of {rows.get('history', 0):,}: 50 predictions a key against 1",
            "≤ 1.1×",
            "1.05×",
            times(deep, flat),
        )
    row(
        [one, "keeping inputs"],
        "storing the inputs, against not storing them",
        "≥ 0.5×",
        "",
        times(one, "keeping inputs"),
    )
    large = f"{rows['large']:,}"
    row(
        ["current prediction by key"],
        f"current prediction by key, {large} rows",
        "≤ 5 ms",
        "",
        lambda: f"{_seconds(measured, 'current prediction by key') * 1000:.2f} ms",
    )
    row(
        ["daily view"],
        f"predictions_daily over {large} rows",
        "≤ 3 s",
        "",
        lambda: f"{_seconds(measured, 'daily view'):.2f} s",
    )
    if "start" in measured:
        (nothing,) = [result for result in measured["start"] if result["name"].startswith("a run with nothing due")]
        found.append(
            (
                "a run with nothing due, process start to exit",
                "≤ 0.8 s",
                "0.4 s",
                f"{statistics.median(nothing['seconds']):.2f} s",
            )
        )
    return found


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
        contenders="\n\n".join(_contenders(results, algorithm) for algorithm in ALGORITHMS),
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
    return f"{ALGORITHMS[algorithm].capitalize()}:\n\n{_table(head, lines)}"


def _stages(results: Mapping[str, Any]) -> str:
    measured = results["measured"]
    lines = []
    for name, shown in (
        ("logistic_regression/batch_scoring", "logistic regression"),
        ("hist_gradient_boosting/batch_scoring", "histogram gradient boosting"),
        ("superseding every row", "superseding every row"),
        ("keeping inputs", "storing inputs"),
        ("forest/1 workers", "random forest, 1 worker"),
        ("sqlite/batch_scoring", "SQLite"),
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
            name.replace("keeping inputs", "storing inputs"),
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
