"""The verdict on a model: what its outcomes advise, by cause.

A metric has fallen if the upper limit of its interval over the latest months together is below the limit, and its value
in each of these months is. A single figure below its limit is chance too often: of a model that is right in 75 % of the
cases, 21 % of the accuracies of 20 outcomes are below 68 %.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from batch_scoring.counting import counted
from batch_scoring.domain.performance import Cohort, Figure, Metric, Performance, ScoreSums
from batch_scoring.domain.retraining import Advice, Retraining, Verdict
from batch_scoring.model.performance import of_sums

_NAMES: dict[Metric, str] = {"accuracy": "the accuracy", "roc_auc": "the ROC AUC"}


def judge(
    settings: Retraining, cohorts: Iterable[Cohort], *, positive: str | None, data_faults: Sequence[str]
) -> Verdict:
    """The verdict on the model version that predicted in the latest month.

    ``cohorts`` are the latest reports of mature months, ``positive`` the positive label, and ``data_faults`` sentences
    on open alerts of missing, unseen, invalid or out-of-range values, or of the number of rows.
    """
    known = [cohort for cohort in cohorts if cohort.population == "all" and cohort.performance.rows]
    if not known:
        return Verdict(advice="unknown", reasons=("no month of decisions has outcomes that are final",))
    newest = max(known, key=lambda cohort: (cohort.month, cohort.performance.rows))
    own = [one for one in known if (one.model_name, one.model_version) == (newest.model_name, newest.model_version)]
    judged = [
        cohort
        for cohort in sorted(own, key=lambda cohort: cohort.month, reverse=True)
        if cohort.performance.rows >= settings.fewest
    ][: settings.months]
    if len(judged) < settings.months:
        reason = (
            f"{counted(settings.months, 'month')} of version {newest.model_version} with at least"
            f" {settings.fewest:,} outcomes are needed, and there {'is' if len(judged) == 1 else 'are'} {len(judged)}"
        )
        return _verdict("unknown", (reason,), newest, judged)
    together = _together(judged, positive, settings.fewest)
    fallen = [metric for metric in _NAMES if _has_fallen(settings, metric, judged, together)]
    reasons = [_sentence(metric, together.figure(metric), _limit(settings, metric), judged) for metric in fallen]
    is_off = _is_miscalibrated(together)
    if fallen and data_faults:
        return _verdict(
            "fix_data", [*reasons, *data_faults, "a model is not to be fitted to faulty data"], newest, judged
        )
    if fallen and is_off and "roc_auc" not in fallen and settings.roc_auc is not None:
        return _verdict(
            "recalibrate", [*reasons, *_calibration(together), "the order of the scores holds"], newest, judged
        )
    if fallen:
        return _verdict("retrain", reasons, newest, judged)
    if is_off:
        return _verdict("recalibrate", list(_calibration(together)), newest, judged)
    below = list(_below(settings, judged[0].performance))
    return _verdict("watch" if below else "none", below, newest, judged)


def _verdict(advice: Advice, reasons: Sequence[str], newest: Cohort, judged: Sequence[Cohort]) -> Verdict:
    return Verdict(
        advice=advice,
        reasons=tuple(reasons),
        model_name=newest.model_name,
        model_version=newest.model_version,
        months=tuple(cohort.month for cohort in judged),
    )


def _together(judged: Sequence[Cohort], positive: str | None, fewest: int) -> Performance:
    sums = ScoreSums()
    for cohort in judged:
        sums += cohort.performance.sums
    return of_sums(sums, positive=positive, fewest=fewest)


def _limit(settings: Retraining, metric: Metric) -> float | None:
    return settings.accuracy if metric == "accuracy" else settings.roc_auc


def _has_fallen(settings: Retraining, metric: Metric, judged: Sequence[Cohort], together: Performance) -> bool:
    limit, figure = _limit(settings, metric), together.figure(metric)
    if limit is None or figure is None or figure.high is None or figure.high >= limit:
        return False
    values = [found.value for cohort in judged if (found := cohort.performance.figure(metric)) is not None]
    return all(value is not None and value < limit for value in values)


def _below(settings: Retraining, latest: Performance) -> Iterator[str]:
    for metric, name in _NAMES.items():
        limit, figure = _limit(settings, metric), latest.figure(metric)
        if limit is not None and figure is not None and figure.value is not None and figure.value < limit:
            yield f"{name} of the latest month is {figure.value:.3f}, below {limit:g}, which may be chance"


def _sentence(metric: Metric, figure: Figure | None, limit: float | None, judged: Sequence[Cohort]) -> str:
    assert figure is not None
    months = " and ".join(f"{cohort.month:%Y-%m}" for cohort in reversed(judged))
    return f"{_NAMES[metric]} of {months} is {figure.value:.3f}, at most {figure.high:.3f}, and the limit is {limit:g}"


def _is_miscalibrated(together: Performance) -> bool:
    return any(True for _ in _calibration(together))


def _calibration(together: Performance) -> Iterator[str]:
    truths: tuple[tuple[Metric, float], ...] = (("calibration_intercept", 0.0), ("calibration_slope", 1.0))
    for metric, truth in truths:
        figure = together.figure(metric)
        if figure is None or figure.low is None or figure.high is None or figure.low <= truth <= figure.high:
            continue
        name = metric.replace("_", " ")
        yield f"the {name} is {figure.value:.2f} ({figure.low:.2f} to {figure.high:.2f}), and should be {truth:g}"
