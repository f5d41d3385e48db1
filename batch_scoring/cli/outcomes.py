"""``outcomes``: how predictions compare with what became of the rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any

import typer

from batch_scoring.cli.job_names import JobName
from batch_scoring.cli.output import (
    Json,
    TableColumn,
    migrated_database,
    notice,
    settings,
    show_json,
    show_record,
    show_sentence,
    show_table,
)
from batch_scoring.cli.times import month_option
from batch_scoring.counting import counted
from batch_scoring.login import login

if TYPE_CHECKING:
    from batch_scoring.domain.overrides import Overrides
    from batch_scoring.domain.performance import Band, Figure, Metric, OutcomeCounts, Performance
    from batch_scoring.domain.retraining import Advice, Verdict
    from batch_scoring.monitoring.performance import Evaluated, KnownCohort

_SHOWN: Sequence[Metric] = (
    "accuracy",
    "base_rate",
    "roc_auc",
    "calibration_slope",
    "mean_absolute_error",
    "root_mean_squared_error",
    "bias",
)
"""The metrics of the table of months, where the kind of model has them."""


def outcomes(
    job: JobName,
    month: Annotated[
        date | None, month_option(help="Show all figures of one month of decisions, such as 2026-05.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare predictions with what became of the rows, and record each month that is new or has changed.

    The outcomes are those of the table or query in [outcomes] of the job. A month counts once its performance window
    has closed. Its figures as they were first reported are kept.
    """
    from batch_scoring.domain.job_files import load_job
    from batch_scoring.monitoring.overrides import by_month, by_reason_and_user
    from batch_scoring.monitoring.performance import evaluate

    found = evaluate(migrated_database(), load_job(settings().jobs_dir, job), by=login())
    cohorts = [one for one in found.cohorts if month is None or one.last.cohort.month == month]
    overrides = by_month(found.decisions) if month is None else by_reason_and_user(found.decisions, month)
    if as_json:
        show_json(
            {
                "job": job,
                "counts": found.counts,
                "changed": len(found.changed),
                "cohorts": cohorts,
                "totals": () if month else found.totals,
                "overrides": overrides,
                "verdict": found.verdict,
            }
        )
        return
    _show_counts(found.counts)
    if not cohorts:
        notice("no month of decisions is reported yet" if month is None else f"{month:%Y-%m} is not reported")
    elif month is None:
        _show_months(found)
    else:
        for one in cohorts:
            _show_cohort(one)
    _show_overrides(overrides, month)
    if cohorts and month is None:
        _show_verdict(found.verdict)
    _notice_changes(found)


def _show_counts(counts: OutcomeCounts) -> None:
    parts = [
        (counts.immature_count, "of months whose performance window is open"),
        (counts.unknown_count, "without an outcome yet"),
        (counts.duplicate_count, "repeated"),
        (counts.reversal_count, "superseded by a later outcome"),
        (counts.unknown_key_count, "of keys that were never scored"),
        (counts.unpredicted_count, "without a current prediction at their time"),
        (counts.invalid_count, "that the model could not predict"),
        (counts.undated_count, "without a time"),
    ]
    left_out = "; ".join(f"{count:,} {text}" for count, text in parts if count)
    show_record(
        [
            ("outcomes", f"{counts.used_count:,} used of {counted(counts.read_count, 'row')}"),
            *([("left out", left_out)] if left_out else []),
        ]
    )


def _show_months(found: Evaluated) -> None:
    present = {figure.metric for one in found.cohorts for figure in one.last.cohort.performance.figures}
    shown = [metric for metric in _SHOWN if metric in present]
    show_table(
        [
            "month",
            TableColumn(name="model", optional=True),
            "among",
            TableColumn(name="predictions", is_number=True),
            TableColumn(name="outcomes", is_number=True),
            *(TableColumn(name=metric.replace("_", " "), is_number=True) for metric in shown),
        ],
        [_row(one, shown) for one in found.cohorts],
        title="by month of the decision, with 95 % confidence intervals",
    )
    show_table(
        [
            "all months",
            "among",
            TableColumn(name="predictions", is_number=True),
            TableColumn(name="outcomes", is_number=True),
            *(TableColumn(name=metric.replace("_", " "), is_number=True) for metric in shown),
        ],
        [
            [
                f"{total.model_name} v{total.model_version}",
                _POPULATIONS[total.population],
                f"{total.predicted_count:,}",
                f"{total.performance.rows:,}",
                *(_shown(total.performance.figure(metric)) for metric in shown),
            ]
            for total in found.totals
            if total.performance.figures
        ],
        title="all months together, from histograms of the score",
    )
    reasons: dict[tuple[date, str], dict[str, None]] = {}
    for one in found.cohorts:
        for figure in one.last.cohort.performance.figures:
            if figure.metric in shown and figure.why_not is not None:
                named = reasons.setdefault((one.last.cohort.month, figure.why_not), {})
                named[figure.metric.replace("_", " ")] = None
    for (month, why_not), names in reasons.items():
        notice(f"{month:%Y-%m}: not computed: {', '.join(names)}: {why_not}")


def _show_overrides(overrides: Sequence[Overrides], month: date | None) -> None:
    if not overrides:
        return
    columns: list[str | TableColumn] = ["month"] if month is None else ["reason", "by"]
    columns += [TableColumn(name=name, is_number=True) for name in ("decisions", "overridden", "share")]
    show_table(
        [*columns, TableColumn(name="from and to", is_text=True)],
        [
            [
                *([f"{one.month:%Y-%m}"] if month is None else [one.reason or "-", one.decided_by or "-"]),
                f"{one.decisions:,}",
                f"{one.overridden:,}",
                f"{one.rate:.1%} ({one.low:.1%} to {one.high:.1%})",
                ", ".join(f"{before} to {after}: {count:,}" for before, after, count in one.directions),
            ]
            for one in overrides
        ],
        title="decisions other than predicted"
        + ("" if month is None else ", by reason and user, of all decisions of the user"),
    )


_ADVICE: dict[Advice, str] = {
    "none": "nothing is to be done",
    "unknown": "there are too few outcomes to judge",
    "watch": "look at the next month",
    "fix_data": "fix the source before anything else",
    "recalibrate": "fit the scores to the outcomes again: the model must be calibrated",
    "retrain": "train a new model",
}


def _show_verdict(verdict: Verdict) -> None:
    typer.echo()
    show_sentence("verdict: ", _ADVICE[verdict.advice])
    for reason in verdict.reasons:
        show_sentence("  ", reason)


_POPULATIONS = {"all": "known", "exploration": "exploration"}


def _row(one: KnownCohort, shown: Sequence[Metric]) -> list[Any]:
    cohort = one.last.cohort
    return [
        f"{cohort.month:%Y-%m}",
        f"{cohort.model_name} v{cohort.model_version}",
        _POPULATIONS[cohort.population],
        f"{cohort.predicted_count:,}",
        f"{cohort.performance.rows:,}",
        *(_shown(cohort.performance.figure(metric)) for metric in shown),
    ]


def _shown(figure: Figure | None) -> str | None:
    if figure is None or figure.value is None:
        return None
    if figure.low is None or figure.high is None or figure.metric == "base_rate":
        return f"{figure.value:.3f}"
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"


def _show_cohort(one: KnownCohort) -> None:
    cohort, first = one.last.cohort, one.first
    performance = cohort.performance
    show_record(
        [
            ("month", f"{cohort.month:%Y-%m}"),
            ("model", f"{cohort.model_name} version {cohort.model_version}"),
            ("among", _among(cohort.population, performance, cohort.predicted_count)),
            *(("predicted", text) for text in _decided(performance)),
        ]
    )
    before = first.cohort.performance
    show_table(
        [
            "figure",
            TableColumn(name="value", is_number=True),
            TableColumn(name="first reported", is_number=True),
            "why",
        ],
        [
            [figure.metric.replace("_", " "), _shown(figure), _shown(before.figure(figure.metric)), figure.why_not]
            for figure in performance.figures
        ],
        title=f"first reported {first.reported_at:%Y-%m-%d}, of {counted(before.rows, 'outcome')}",
    )
    if performance.bands:
        show_table(
            [
                "scores",
                TableColumn(name="outcomes", is_number=True),
                TableColumn(name="expected", is_number=True),
                TableColumn(name="observed", is_number=True),
            ],
            [_band(band) for band in performance.bands],
            title="calibration",
        )


def _among(population: str, performance: Performance, predicted_count: int) -> str:
    rows = " of rows accepted at random" if population == "exploration" else ""
    return f"{counted(performance.rows, 'matured outcome')} of {counted(predicted_count, 'prediction')}{rows}"


def _decided(performance: Performance) -> Iterator[str]:
    for label, by_outcome in performance.sums.decided.items():
        became = ", ".join(f"{count:,} became {outcome}" for outcome, count in by_outcome.items())
        yield f"{label}: {sum(by_outcome.values()):,}; {became}"


def _band(band: Band) -> list[Any]:
    observed = f"{band.observed:.3f} ({band.observed_low:.3f} to {band.observed_high:.3f})"
    return [f"{band.low:.3f} to {band.high:.3f}", f"{band.rows:,}", f"{band.expected:.3f}", observed]


def _notice_changes(found: Evaluated) -> None:
    if found.changed:
        notice(f"{counted(len(found.changed), 'report')} recorded")
    else:
        notice("nothing has changed since the last report")
    if found.next_at is not None:
        notice(f"the next month of decisions is final on {found.next_at:%Y-%m-%d}")
