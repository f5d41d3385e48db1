"""``monitor …``: what runs read and predicted, compared with the reference of their model."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from batch_scoring.cli import alerting
from batch_scoring.cli.job_names import JobName
from batch_scoring.cli.output import (
    Json,
    TableColumn,
    migrated_database,
    notice,
    settings,
    show_json,
    show_record,
    show_table,
    shown,
)
from batch_scoring.cli.streams import is_unicode
from batch_scoring.cli.times import time_option
from batch_scoring.counting import counted
from batch_scoring.domain.runs import Status

if TYPE_CHECKING:
    from batch_scoring.domain.drift import Drift
    from batch_scoring.domain.profile import Quarantined, Reference
    from batch_scoring.domain.runs import Run
    from batch_scoring.monitoring.monitor import Monitored

_BAR = 20
"""Characters of the longest bar."""


class _DriftByDefault(typer.core.TyperGroup):
    """``monitor JOB`` is ``monitor drift JOB``."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["drift", *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=_DriftByDefault,
    help="Compare what runs read and predicted with what the model was trained on.\n\n`monitor JOB` is `monitor drift"
    " JOB`.",
    no_args_is_help=True,
)


@app.command()
def drift(
    job: JobName,
    since: Annotated[
        datetime | None, time_option(help="List the windows that ended at this time or later, instead of the latest.")
    ] = None,
    window: Annotated[
        int | None, typer.Option(help="Rows that end a window, instead of [monitoring] window_rows.", min=1)
    ] = None,
    as_json: Json = False,
) -> None:
    """Show how far the latest runs are from the reference of their model, by feature."""
    from batch_scoring.domain.job_files import load_job
    from batch_scoring.monitoring.monitor import drift_of, last_run_alone

    declared = load_job(settings().jobs_dir, job)
    if window is not None:
        chosen = declared.monitoring.model_copy(update={"window_rows": window})
        declared = declared.model_copy(update={"monitoring": chosen})
    database = migrated_database()
    found = drift_of(database, declared, since=since, uses_recorded=window is None)
    alone = last_run_alone(database, declared, found[0].window) if found and since is None else None
    if as_json:
        show_json({"job": job, "windows": found, "last_run": alone})
    elif not found:
        notice(f"no ordinary run of {job} has scored a row{'' if since is None else ' since then'}")
    elif since is None:
        _show_window(found[0])
        _show_changes(alone)
    else:
        _show_windows(found)


def _show_window(one: Monitored) -> None:
    window, report = one.window, one.report
    runs = f"run {window.first_run}"
    if window.run_count > 1:
        runs = f"runs {window.first_run} to {window.last_run} ({window.run_count:,})"
    pairs = [
        ("window", f"{runs}, {shown(window.started_at)} to {shown(window.ended_at)} UTC"),
        ("rows", f"{window.read_count:,}{'' if window.is_complete else ', the window is still open'}"),
        ("model", f"{window.model_name} version {window.model_version}"),
    ]
    if report is not None:
        pairs.append(("reference", f"{report.reference_origin}, {counted(report.reference_rows, 'row')}"))
    show_record(pairs)
    if report is None:
        notice(f"nothing is compared: {one.why_not}")
        return
    if window.uncounted:
        notice(f"{counted(window.uncounted, 'row')} of the window are not counted")
    _show_metrics(report.metrics, title="distance from the reference")
    for metric in report.metrics:
        if metric.why_not is not None and metric.measure == "distribution":
            notice(f"{metric.name} is not compared: {metric.why_not}")
    typer.echo()
    for metric in report.breaches:
        typer.echo(f"drift: {metric.sentence} (q {metric.q_value:.2g}, {counted(report.rows, 'row')})")
    if report.breaches:
        typer.echo(f"see the bins with `batch-scoring monitor profile {window.last_run}`")
    else:
        typer.echo("no drift")


def _show_changes(alone: Monitored | None) -> None:
    """What is known of rows that changed within the window, each of which counts there as it was first."""
    if alone is None or alone.report is None:
        return
    window = alone.window
    again = f"{window.again_count:,} of {counted(window.read_count, 'row')} of run {window.last_run}"
    typer.echo(f"\n{again} had been read in this window before, and changed; of the run alone:")
    for metric in alone.report.breaches:
        typer.echo(f"drift: {metric.sentence} (q {metric.q_value:.2g})")
    if not alone.report.breaches:
        typer.echo("no drift")


def _show_metrics(metrics: Sequence[Drift], *, title: str) -> None:
    by_name: dict[str, dict[str, Drift]] = {}
    for metric in metrics:
        by_name.setdefault(metric.name, {})[metric.measure] = metric
    longest = max((metric.value or 0.0 for metric in metrics if metric.measure == "distribution"), default=0.0)
    show_table(
        [
            "",
            TableColumn(name="importance", is_number=True, optional=True),
            TableColumn(name="PSI", is_number=True),
            TableColumn(name="by chance", is_number=True, optional=True),
            TableColumn(name="q", is_number=True, optional=True),
            TableColumn(name="missing", is_number=True),
            TableColumn(name="unseen", is_number=True),
            TableColumn(name="out of range", is_number=True),
            TableColumn(name="", optional=True),
        ],
        [_row(name, of_name, longest) for name, of_name in by_name.items()],
        title=title,
    )


def _row(name: str, measures: dict[str, Drift], longest: float) -> list[Any]:
    distribution = measures["distribution"]
    return [
        name,
        None if distribution.importance is None else f"{distribution.importance:.4f}",
        _figure(distribution, "{:.4f}"),
        None if distribution.expected is None else f"{distribution.expected:.4f}",
        None if distribution.q_value is None else f"{distribution.q_value:.2g}",
        *(_figure(measures.get(measure), "{:.1%}") for measure in ("missing", "unseen", "out_of_range")),
        _bar(distribution.value or 0.0, longest),
    ]


def _figure(metric: Drift | None, form: str) -> str | None:
    if metric is None or metric.value is None:
        return None
    return form.format(metric.value) + ("!" if metric.is_breach else "")


def _bar(value: float, longest: float) -> str:
    if value <= 0 or longest <= 0:
        return ""
    return ("█" if is_unicode(sys.stdout.encoding) else "#") * round(_BAR * value / longest)


def _show_windows(found: list[Monitored]) -> None:
    show_table(
        [
            "from (UTC)",
            "to (UTC)",
            TableColumn(name="runs", is_number=True, optional=True),
            TableColumn(name="rows", is_number=True),
            TableColumn(name="model", optional=True),
            TableColumn(name="score PSI", is_number=True),
            TableColumn(name="drift", is_text=True),
        ],
        [
            [
                one.window.started_at,
                one.window.ended_at,
                f"{one.window.run_count:,}",
                f"{one.window.read_count:,}",
                f"v{one.window.model_version}",
                _score_psi(one),
                _summary(one),
            ]
            for one in found
        ],
    )


def _score_psi(one: Monitored) -> str | None:
    metrics = () if one.report is None else one.report.metrics
    return next(
        (f"{metric.value:.4f}" for metric in metrics if metric.subject == "score" and metric.value is not None), None
    )


def _summary(one: Monitored) -> str:
    if one.report is None:
        return f"not compared: {one.why_not}"
    names = (f"{metric.name} ({metric.measure.replace('_', ' ')})" for metric in one.report.breaches)
    return ", ".join(names) or "none"


@app.command()
def profile(
    run_id: Annotated[int, typer.Argument(metavar="run", help="The number of a run.", min=1, max=2**63 - 1)],
    as_json: Json = False,
) -> None:
    """Show what a run counted: the values of each feature by bin, and of the score."""
    from batch_scoring.monitoring.monitor import run_profile

    found = run_profile(migrated_database(), run_id)
    counts = found.profile
    if as_json:
        show_json({"run_id": run_id, "job": found.run.job, "profile": counts.model_dump(mode="json")})
        return
    show_record(
        [
            ("run", f"{run_id} of {found.run.job}"),
            ("rows", f"{counts.rows:,}, {counts.scored_count:,} of them scored{_of_held(found.run)}"),
            ("model", f"{found.run.model_name} version {found.run.model_version}"),
            *(
                ("predicted", f"{label}: {_share(count, counts.scored_count)}")
                for label, count in counts.labels.items()
            ),
            *(
                (
                    "quarantined",
                    f"{one.code}{f' in {one.column}' if one.column else ''}: {_share(one.rows, counts.rows)}",
                )
                for one in counts.quarantined
            ),
        ]
    )
    for bins in found.reference.features:
        own = counts.features[bins.name]
        title = bins.name
        if own.low is not None:
            title += f", from {own.low:g} to {own.high:g}"
        _show_bins(title, bins.labels, own.counts, bins.counts)


def _of_held(run: Run) -> str:
    return " to decide whether the run is held; none was written" if run.status is Status.HELD else ""


def _reason(one: Quarantined) -> str:
    return f"{one.code} in {one.column}" if one.column else one.code


def _share(count: int, of: int) -> str:
    return f"{count:,} ({count / of:.1%})" if of else f"{count:,}"


def _show_bins(
    title: str, labels: tuple[str, ...], counts: tuple[int, ...], reference: tuple[int, ...] | None = None
) -> None:
    """The bins that are not empty, with bars of their shares."""
    rows = sum(counts)
    reference_rows = sum(reference or ())
    columns: list[str | TableColumn] = [
        "",
        TableColumn(name="rows", is_number=True),
        TableColumn(name="share", is_number=True),
    ]
    if reference is not None:
        columns.append(TableColumn(name="reference", is_number=True))
    columns.append(TableColumn(name="", optional=True))
    lines = []
    for number, (label, count) in enumerate(zip(labels, counts, strict=True)):
        if not count and not (reference and reference[number]):
            continue
        line = [label, f"{count:,}", f"{count / rows:.1%}" if rows else "-"]
        if reference is not None:
            line.append(f"{reference[number] / reference_rows:.1%}" if reference_rows else "-")
        lines.append([*line, _bar(count, max(counts))])
    show_table(columns, lines, title=title)


@app.command()
def reference(job: JobName, as_json: Json = False) -> None:
    """Show what the next run of a job is compared with: the rows its model was trained on, or its sample."""
    from batch_scoring.domain.job_files import load_job
    from batch_scoring.monitoring.monitor import job_reference

    found = job_reference(migrated_database(), load_job(settings().jobs_dir, job))
    if as_json:
        show_json(
            {
                "job": job,
                "model": found.version.name,
                "model_version": found.version.version,
                "reference": found.reference.model_dump(mode="json"),
                "since_first": found.since_first,
            }
        )
        return
    show_record(
        [
            ("model", f"{found.version.name} version {found.version.version}"),
            ("rows", f"{found.reference.rows:,}, of {_origin(found.reference)}"),
            ("score", _score(found.reference)),
        ]
    )
    for bins in found.reference.features:
        title = bins.name
        if bins.low is not None:
            title += f", from {bins.low:g} to {bins.high:g}"
        if bins.importance is not None:
            title += f", importance {bins.importance:.4f}"
        _show_bins(title, bins.labels, bins.counts)
    if found.since_first is not None:
        first = found.since_first
        _show_metrics(first.report.metrics, title=f"distance of these rows from those of version {first.version}")


def _origin(reference: Reference) -> str:
    return {
        "training": "its training data",
        "sample": "the sample it was registered with",
        "runs": "earlier runs, as [monitoring] reference says",
    }[reference.origin]


def _score(reference: Reference) -> str:
    if reference.scores is None:
        return "none: the model returns labels only"
    if reference.scores.is_out_of_fold:
        return "of each row by a model that was not fitted on it (out of fold)"
    return "of rows that the model may have been fitted on: its drift is shown, and no alert"


app.command()(alerting.alerts)
app.command()(alerting.acknowledge)
app.command()(alerting.mute)
app.command()(alerting.unmute)
app.command()(alerting.limits)
