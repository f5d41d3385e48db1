"""Compare what was predicted for groups of rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import date

from batch_scoring.domain.fairness import FOUR_FIFTHS, UNKNOWN, GroupCounts, GroupFigures, GroupName, SmallGroups
from batch_scoring.model.intervals import ratio_of_shares, share_interval


def is_below_four_fifths(selected: int, rows: int, reference_selected: int, reference_rows: int) -> bool:
    """Whether a selection rate is less than four fifths of that of the reference group, decided by integers."""
    over, under = FOUR_FIFTHS
    return under * selected * reference_rows < over * reference_selected * rows


def compare_groups(
    month: date, column: str, groups: Mapping[str, GroupCounts], *, reference: str | None, fewest: int
) -> tuple[list[GroupFigures], SmallGroups | None]:
    """The figures of each group with at least ``fewest`` rows, the largest first, and how many groups have fewer.

    ``reference`` is the group with which the others are compared; None stands for the largest one that is known.
    Without one of at least ``fewest`` rows, no ratio is computed.
    """
    shown = {name: counts for name, counts in groups.items() if counts.rows >= fewest}
    names = sorted(shown, key=lambda name: (-shown[name].rows, name))
    if reference is None:
        reference = next((name for name in names if name != UNKNOWN), None)
    of_reference = shown.get(reference) if reference is not None else None
    figures = [
        _figures(
            GroupName(month=month, column=column, group=name, is_reference=name == reference),
            shown[name],
            None if name == reference else of_reference,
            fewest,
        )
        for name in names
    ]
    small = len(groups) - len(shown)
    return figures, SmallGroups(month=month, column=column, count=small) if small else None


def _figures(name: GroupName, counts: GroupCounts, reference: GroupCounts | None, fewest: int) -> GroupFigures:
    low, high = share_interval(counts.selected, counts.rows)
    ratio, is_below = None, False
    if reference is not None:
        other = reference.selected, reference.rows
        ratio = ratio_of_shares(counts.selected, counts.rows, *other)
        is_below = is_below_four_fifths(counts.selected, counts.rows, *other)
    # without a selected row the ratio has no interval: the rates themselves must be apart
    is_apart = reference is not None and (
        ratio.high < 1 if ratio is not None else high < share_interval(reference.selected, reference.rows)[0]
    )
    has_positives, has_outcomes = counts.positives >= fewest, counts.outcomes >= fewest
    of_positives = share_interval(counts.selected_positives, counts.positives) if has_positives else (None, None)
    of_outcomes = share_interval(counts.positives, counts.outcomes) if has_outcomes else (None, None)
    return GroupFigures(
        **asdict(name),
        rows=counts.rows,
        selected=counts.selected,
        rate=counts.selected / counts.rows,
        rate_low=low,
        rate_high=high,
        ratio=None if ratio is None else ratio.value,
        ratio_low=None if ratio is None else ratio.low,
        ratio_high=None if ratio is None else ratio.high,
        is_below_four_fifths=is_below,
        is_flagged=is_below and is_apart,
        outcomes=counts.outcomes,
        true_positive_rate=counts.selected_positives / counts.positives if has_positives else None,
        true_positive_low=of_positives[0],
        true_positive_high=of_positives[1],
        expected=counts.score_sum / counts.outcomes if has_outcomes else None,
        observed=counts.positives / counts.outcomes if has_outcomes else None,
        observed_low=of_outcomes[0],
        observed_high=of_outcomes[1],
    )
