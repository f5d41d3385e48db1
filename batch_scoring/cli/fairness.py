"""``fairness``: what is predicted for groups of rows, and how it comes true for each of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    show_sentence,
    show_table,
)
from batch_scoring.cli.times import month_option
from batch_scoring.counting import counted
from batch_scoring.login import login

if TYPE_CHECKING:
    from batch_scoring.domain.fairness import GroupFigures
    from batch_scoring.monitoring.fairness import Compared

_FOUR_FIFTHS = (
    "Four fifths is an internal limit, taken from a rule of thumb for hiring in the United States (29 CFR 1607.4 D). To"
    " be below it is no finding of discrimination, and to be above it no proof of fairness: look at why groups differ."
)


def fairness(
    job: JobName,
    month: Annotated[date | None, month_option(help="Show this month, such as 2026-05, instead of the latest.")] = None,
    as_json: Json = False,
) -> None:
    """Compare what is predicted for the groups in [fairness] of a job, by month, and record what has changed.

    Groups with too few rows are not shown. With [outcomes], the predictions of each group are compared with what became
    of its rows, too.
    """
    from batch_scoring.domain.job_files import load_job
    from batch_scoring.monitoring.fairness import evaluate

    found = evaluate(migrated_database(), load_job(settings().jobs_dir, job), by=login())
    chosen = month or max((one.month for one in found.groups), default=None)
    if as_json:
        show_json(
            {
                "job": job,
                "changed": found.changed_count,
                "groups": [one for one in found.groups if month in (None, one.month)],
                "small": [one for one in found.small if month in (None, one.month)],
            }
        )
        return
    groups = [one for one in found.groups if one.month == chosen]
    if not groups:
        notice(f"no group of {f'{month:%Y-%m}' if month else 'any month'} has enough rows to be shown")
    for column in dict.fromkeys(one.column for one in groups):
        _show_column(column, [one for one in groups if one.column == column])
    _show_small(found, chosen)
    _show_flags(found.groups)


def _show_column(column: str, groups: Sequence[GroupFigures]) -> None:
    has_outcomes = any(one.outcomes for one in groups)
    columns: list[str | TableColumn] = [
        column,
        TableColumn(name="rows", is_number=True),
        TableColumn(name="selected", is_number=True),
        TableColumn(name="rate", is_number=True),
        TableColumn(name="ratio", is_number=True),
        "four fifths",
    ]
    if has_outcomes:
        columns += [
            TableColumn(name=name, is_number=True) for name in ("outcomes", "of positives", "mean score", "observed")
        ]
    rows = [[*_selection(one), *(_outcomes(one) if has_outcomes else ())] for one in groups]
    show_table(columns, rows, title=f"{column}, {groups[0].month:%Y-%m}, with 95 % confidence intervals")
    if not any(one.is_reference for one in groups):
        notice(f"{column}: nothing is compared, as the reference group has too few rows, or none")


def _selection(one: GroupFigures) -> list[Any]:
    return [
        one.group,
        f"{one.rows:,}",
        f"{one.selected:,}",
        _interval(one.rate, one.rate_low, one.rate_high),
        "reference" if one.is_reference else _interval(one.ratio, one.ratio_low, one.ratio_high),
        _verdict(one),
    ]


def _verdict(one: GroupFigures) -> str | None:
    if one.is_reference:
        return None
    if one.is_flagged:
        return "below, and no chance"
    return "below, may be chance" if one.is_below_four_fifths else "met"


def _outcomes(one: GroupFigures) -> list[Any]:
    return [
        f"{one.outcomes:,}",
        _interval(one.true_positive_rate, one.true_positive_low, one.true_positive_high),
        None if one.expected is None else f"{one.expected:.3f}",
        _interval(one.observed, one.observed_low, one.observed_high),
    ]


def _interval(value: float | None, low: float | None, high: float | None) -> str | None:
    return None if value is None else f"{value:.3f} ({low:.3f} to {high:.3f})"


def _show_small(found: Compared, month: date | None) -> None:
    for one in found.small:
        if one.month == month:
            notice(f"{one.column}: {counted(one.count, 'group')} with too few rows not shown")


def _show_flags(groups: Iterable[GroupFigures]) -> None:
    flagged = [one for one in groups if one.is_flagged]
    if not flagged:
        return
    typer.echo()
    for one in flagged:
        ratio = "0" if one.ratio is None else f"{one.ratio:.2f} of that of the reference group"
        typer.echo(f"{one.month:%Y-%m}: the rate of {one.column} {one.group} is {ratio}, below four fifths")
    show_sentence("", _FOUR_FIFTHS)
