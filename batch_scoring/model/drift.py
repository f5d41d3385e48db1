"""Drift: how far what runs read and predicted is from the reference of their model.

A figure alone says little: with few rows a large population stability index (PSI) is chance, with many rows the
smallest difference is significant. So a breach needs an effect at its limit or above, and significance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.special import chdtrc
from scipy.stats import binomtest, false_discovery_control

from batch_scoring.counting import counted
from batch_scoring.domain.decision import DecisionPolicy
from batch_scoring.domain.drift import FEWEST_ROWS, Drift, DriftReport, with_limit
from batch_scoring.domain.limits import Measure, Monitoring, Subject
from batch_scoring.domain.profile import INVALID, MISSING, SCORE_BINS, UNSEEN, Profile, Reference

_SCORE_GROUPS = 10


def psi(expected: Sequence[int], actual: Sequence[int]) -> float:
    """The population stability index of two histograms with the same bins: sum of (a - e) ln(a / e).

    The shares are of counts of which each is larger by one half, so that an empty bin gives no infinite value. Bins
    that are empty in both are left out. 0 for fewer than two bins.
    """
    e, a = _both(expected, actual)
    if len(e) < 2:
        return 0.0
    share_e = (e + 0.5) / (e.sum() + 0.5 * len(e))
    share_a = (a + 0.5) / (a.sum() + 0.5 * len(a))
    return float(((share_a - share_e) * np.log(share_a / share_e)).sum())


def psi_by_chance(expected: Sequence[int], actual: Sequence[int]) -> float:
    """The PSI to be expected without drift: (1/N + 1/M) (B - 1) for B bins, N and M rows (Yurdakul, 2018)."""
    e, a = _both(expected, actual)
    if len(e) < 2:
        return 0.0
    return float((1 / e.sum() + 1 / a.sum()) * (len(e) - 1))


def homogeneity_p(expected: Sequence[int], actual: Sequence[int]) -> float:
    """The p-value of Pearson's chi-squared test that two histograms are of one distribution."""
    e, a = _both(expected, actual)
    if len(e) < 2:
        return 1.0
    together = e + a
    n, m = e.sum(), a.sum()
    by_chance_e, by_chance_a = together * n / (n + m), together * m / (n + m)
    statistic = ((e - by_chance_e) ** 2 / by_chance_e).sum() + ((a - by_chance_a) ** 2 / by_chance_a).sum()
    return float(chdtrc(len(e) - 1, statistic))


def _both(expected: Sequence[int], actual: Sequence[int]) -> tuple[Any, Any]:
    e, a = np.asarray(expected, dtype=float), np.asarray(actual, dtype=float)
    occurs = (e + a) > 0
    return e[occurs], a[occurs]


def larger_share_p(count: int, of: int, reference_count: int, reference_of: int) -> float:
    """The p-value of the exact binomial test that a share is not larger than in the reference.

    The share of the reference is of a count that is larger by one half, so that it is not zero.
    """
    share = (reference_count + 0.5) / (reference_of + 1)
    return float(binomtest(count, of, share, alternative="greater").pvalue)


def compare(reference: Reference, policy: DecisionPolicy, profile: Profile, settings: Monitoring) -> DriftReport:
    """Compare a profile with the reference in whose bins it was counted."""
    too_few = _too_few(reference, profile)
    metrics: list[Drift] = []
    for bins in reference.features:
        found = profile.features[bins.name]
        distribution = _distribution("feature", bins.name, bins.counts, found.counts, too_few)
        shares: list[tuple[Measure, int, int]] = []
        place = {label: number for number, label in enumerate(bins.labels)}
        labelled: tuple[tuple[Measure, str], ...] = (("missing", MISSING), ("unseen", UNSEEN), ("invalid", INVALID))
        for measure, label in labelled:
            if label in place and not (label == UNSEEN and bins.levels is None):
                shares.append((measure, found.counts[place[label]], bins.counts[place[label]]))
        if bins.low is not None:
            shares.append(("out_of_range", found.below + found.above, bins.outside))
        of_feature = [distribution, *(_share(bins.name, reference, profile, *one, too_few) for one in shares)]
        metrics += [replace(one, importance=bins.importance) for one in of_feature]
    metrics = [with_limit(one, settings) for one in metrics]
    # scores of rows that the model was fitted on are more certain than those of others
    is_alerting = reference.scores is not None and reference.scores.is_out_of_fold
    for one in (_score(reference, profile, too_few), _predictions(reference, policy, profile, too_few)):
        metrics.append(with_limit(one, settings) if is_alerting else one)
    return DriftReport(
        rows=profile.rows,
        reference_rows=reference.rows,
        reference_origin=reference.origin,
        metrics=tuple(_with_breaches(metrics, settings)),
    )


def _too_few(reference: Reference, profile: Profile) -> str | None:
    for rows, what in ((reference.rows, "the reference has"), (profile.rows, "the runs read")):
        if rows < FEWEST_ROWS:
            return f"{what} {counted(rows, 'row')}, and {FEWEST_ROWS} are needed"
    return None


def _distribution(
    subject: Subject, name: str, expected: Sequence[int], actual: Sequence[int], why_not: str | None
) -> Drift:
    if why_not is None and not sum(actual):
        why_not = "no row has one"
    if why_not is not None:
        return Drift(
            subject=subject,
            name=name,
            measure="distribution",
            value=None,
            expected=None,
            p_value=None,
            why_not=why_not,
        )
    return Drift(
        subject=subject,
        name=name,
        measure="distribution",
        value=psi(expected, actual),
        expected=psi_by_chance(expected, actual),
        p_value=homogeneity_p(expected, actual),
    )


def _share(
    name: str,
    reference: Reference,
    profile: Profile,
    measure: Measure,
    count: int,
    reference_count: int,
    why_not: str | None,
) -> Drift:
    is_computed = why_not is None
    return Drift(
        subject="feature",
        name=name,
        measure=measure,
        value=count / profile.rows if is_computed else None,
        expected=reference_count / reference.rows if is_computed else None,
        p_value=larger_share_p(count, profile.rows, reference_count, reference.rows) if is_computed else None,
        why_not=why_not,
    )


def _with_breaches(metrics: Sequence[Drift], settings: Monitoring) -> Iterator[Drift]:
    """With q-values, over all distributions and over all shares that are not switched off, and breaches."""
    q_values: dict[int, float] = {}
    for is_share in (False, True):
        p_values = {
            number: one.p_value
            for number, one in enumerate(metrics)
            if one.p_value is not None and one.action != "off" and (one.measure != "distribution") is is_share
        }
        if p_values:
            adjusted = false_discovery_control(list(p_values.values()), method="bh").tolist()
            q_values |= dict(zip(p_values, adjusted, strict=True))
    for number, one in enumerate(metrics):
        q_value, effect = q_values.get(number), one.effect
        is_breach = (
            q_value is not None
            and effect is not None
            and one.limit is not None
            and effect >= one.limit
            and q_value < settings.significance
        )
        yield replace(one, q_value=q_value, is_breach=is_breach)


def _score(reference: Reference, profile: Profile, too_few: str | None) -> Drift:
    bins = reference.scores
    why_not = "the model returns labels only" if bins is None else too_few
    if bins is None or why_not is not None:
        return _distribution("score", "score", (), (), why_not)
    expected = np.zeros(SCORE_BINS, dtype=int)
    actual = np.zeros(SCORE_BINS, dtype=int)
    for counts, of in ((expected, bins.counts), (actual, profile.scores)):
        counts[list(of)] = list(of.values())
    # groups with about a tenth of the reference each
    place = np.minimum((np.cumsum(expected) - expected) * _SCORE_GROUPS // expected.sum(), _SCORE_GROUPS - 1)
    grouped = [np.bincount(place, weights=counts, minlength=_SCORE_GROUPS) for counts in (expected, actual)]
    return _distribution("score", "score", grouped[0].tolist(), grouped[1].tolist(), None)


def _predictions(reference: Reference, policy: DecisionPolicy, profile: Profile, too_few: str | None) -> Drift:
    if policy.kind == "regression":
        return _distribution("prediction", "prediction", (), (), "a regression decides no labels")
    expected = _decided(reference, policy)
    if expected is None:
        too_few = "the labels that the job's threshold would give in the reference are not known"
    if expected is None or too_few is not None:
        return _distribution("prediction", "prediction", (), (), too_few)
    names = sorted({*expected, *profile.labels})
    before, now = [expected.get(name, 0) for name in names], [profile.labels.get(name, 0) for name in names]
    return _distribution("prediction", "prediction", before, now, None)


def _decided(reference: Reference, policy: DecisionPolicy) -> dict[str, int] | None:
    """The labels that the job would decide in the reference; of a binary model by the histogram of its score."""
    if policy.kind != "binary":
        return reference.labels
    positive, scores = policy.positive_label, reference.scores
    others = [label for label in reference.labels if label != positive]
    if scores is None or positive is None or policy.threshold is None or policy.decided_label != positive:
        return None
    if len(others) != 1:
        return None
    first = np.ceil(policy.threshold * SCORE_BINS - 1e-9)
    of_positive = sum(count for number, count in scores.counts.items() if number >= first)
    return {positive: of_positive, others[0]: sum(scores.counts.values()) - of_positive}
