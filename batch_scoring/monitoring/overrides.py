"""How often people decide otherwise than the model predicted, by month, reason and user."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date

from batch_scoring.domain.overrides import DecisionCount, Overrides
from batch_scoring.model.intervals import share_interval


def added_up(decisions: Iterable[DecisionCount]) -> list[DecisionCount]:
    """Decisions in order, those of several runs that are alike as one."""
    found = Counter[DecisionCount]()
    for one in decisions:
        found[replace(one, decision_count=0)] += one.decision_count
    return [replace(one, decision_count=count) for one, count in sorted(found.items())]


def by_month(decisions: Iterable[DecisionCount]) -> list[Overrides]:
    """The overrides of each month, the earliest first."""
    months: dict[date, list[DecisionCount]] = {}
    for one in decisions:
        months.setdefault(one.month, []).append(one)
    return [_overrides(month, found, None, None) for month, found in sorted(months.items())]


def by_reason_and_user(decisions: Iterable[DecisionCount], month: date) -> list[Overrides]:
    """Those of a month by reason and user, the most frequent first. Their rate is of all decisions of the user."""
    of_month = [one for one in decisions if one.month == month]
    of_user = Counter[str]()
    groups: dict[tuple[str, str], list[DecisionCount]] = {}
    for one in of_month:
        of_user[one.decided_by] += one.decision_count
        if one.is_override:
            groups.setdefault((one.reason, one.decided_by), []).append(one)
    found = [
        _overrides(month, members, reason, user, decisions=of_user[user]) for (reason, user), members in groups.items()
    ]
    return sorted(found, key=lambda one: (-one.overridden, one.reason or "", one.decided_by or ""))


def _overrides(
    month: date,
    members: Sequence[DecisionCount],
    reason: str | None,
    decided_by: str | None,
    *,
    decisions: int | None = None,
) -> Overrides:
    total = sum(one.decision_count for one in members) if decisions is None else decisions
    directions = Counter[tuple[str, str]]()
    for one in members:
        if one.is_override:
            directions[one.prediction, one.decision] += one.decision_count
    overridden = directions.total()
    low, high = share_interval(overridden, total)
    return Overrides(
        month=month,
        reason=reason,
        decided_by=decided_by,
        decisions=total,
        overridden=overridden,
        rate=overridden / total,
        low=low,
        high=high,
        directions=[(*labels, count) for labels, count in directions.most_common()],
    )
