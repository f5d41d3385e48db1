"""Compare predictions with outcomes, by month of the decision and model version, and record what has changed."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from batch_scoring.counting import counted
from batch_scoring.domain.decision import DecisionPolicy
from batch_scoring.domain.job import Job
from batch_scoring.domain.outcomes import Outcomes, Population
from batch_scoring.domain.overrides import DecisionCount
from batch_scoring.domain.performance import Cohort, OutcomeCounts, Performance, ScoreSums
from batch_scoring.domain.retraining import Verdict
from batch_scoring.errors import ConfigurationError, ConstraintViolated, InputFault, Problem
from batch_scoring.model.performance import classification, of_sums, regression
from batch_scoring.monitoring.overrides import added_up
from batch_scoring.monitoring.verdict import judge
from batch_scoring.store import registry
from batch_scoring.store.drift.alerts import list_alerts
from batch_scoring.store.engine.clock import now
from batch_scoring.store.engine.database import Database
from batch_scoring.store.feedback import outcomes as reading
from batch_scoring.store.feedback import reports
from batch_scoring.store.feedback.outcomes import Decided, JoinedOutcomes, Pair, Predicted, first_day, is_true
from batch_scoring.store.feedback.reports import Report
from batch_scoring.store.schema.job_tables import existing_layout

_COVERED = 0.9
"""The share of predictions without the positive label whose outcome must be known, for figures that need those."""

_Version = tuple[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownCohort:
    """A cohort as it was reported last, and as it was first."""

    last: Report
    first: Report


@dataclass(frozen=True, kw_only=True, slots=True)
class Total:
    """All months of a model version together, computed from the sums of their latest reports."""

    model_name: str
    model_version: int
    population: Population
    predicted_count: int
    performance: Performance


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluated:
    """What is known of how predictions compare with outcomes."""

    counts: OutcomeCounts
    changed: Sequence[Cohort]
    """Cohorts that were reported again."""
    cohorts: Sequence[KnownCohort]
    totals: Sequence[Total]
    decisions: Sequence[DecisionCount]
    """What was decided in the end, of all months; empty where the outcomes do not tell."""
    verdict: Verdict
    next_at: datetime | None
    """When the next month of decisions is mature; None if no outcome waits for it."""


def evaluate(database: Database, job: Job, *, by: str) -> Evaluated:
    """Read the outcomes of a job and record the months whose figures are new or have changed.

    Raises ConfigurationError, InputFault, ModelRefused, DatabaseFault.
    """
    outcomes = job.outcomes
    if outcomes is None:
        message = "is missing: name the table or query with the outcomes of scored rows"
        raise ConfigurationError([Problem(where=f"job {job.name}", key="outcomes", message=message)])
    layout = existing_layout(database, job)
    reading.check(database, job, outcomes, layout)
    with database.read() as connection:
        joined = JoinedOutcomes(connection, job, outcomes, layout)
        rows = joined.counts()
        made = joined.made()
        versions = reading.models_of_runs(connection, sorted({one.run_id for one in made}))
        gathered = _Gathering(job, OutcomeLabels.of(database, job, versions, now(connection)))
        decisions = [gathered.labels.decision(one) for one in joined.decisions()]
        for pair in joined.pairs():
            gathered.add(pair)
        unmatched = rows.dated - gathered.pair_count
        unknown_keys = joined.unknown_keys() if unmatched else 0
    gathered.check()
    counts = OutcomeCounts(
        read_count=rows.read,
        unknown_count=rows.without_outcome,
        undated_count=rows.without_time,
        unknown_key_count=unknown_keys,
        unpredicted_count=unmatched - unknown_keys,
        **gathered.counts,
    )
    cohorts = list(gathered.cohorts(made))
    decisions = added_up(decisions)
    changed: Sequence[Cohort] = ()
    with suppress(ConstraintViolated):  # another process records the same
        changed = reports.record(database, job.name, counts, cohorts, decisions, by=by)
    return _known(database, job, outcomes, counts, changed, decisions, gathered.next_at)


def _known(
    database: Database,
    job: Job,
    outcomes: Outcomes,
    counts: OutcomeCounts,
    changed: Sequence[Cohort],
    decisions: Sequence[DecisionCount],
    next_at: datetime | None,
) -> Evaluated:
    found = reports.first_and_last(database, job.name)
    faults = [
        f"an alert is open: {alert.message}"
        for alert in list_alerts(database, job.name)
        if alert.measure != "distribution"
    ]
    verdict = judge(
        job.retraining,
        [last.cohort for _, last in found.values()],
        positive=job.predictions.positive_label,
        data_faults=faults,
    )
    return Evaluated(
        counts=counts,
        changed=changed,
        cohorts=[KnownCohort(first=first, last=last) for first, last in found.values()],
        totals=list(_totals(job, outcomes, [last.cohort for _, last in found.values()])),
        decisions=decisions,
        verdict=verdict,
        next_at=next_at,
    )


def _totals(job: Job, outcomes: Outcomes, cohorts: Iterable[Cohort]) -> Iterator[Total]:
    groups: dict[tuple[str, int, Population], list[Cohort]] = {}
    for cohort in cohorts:
        groups.setdefault((cohort.model_name, cohort.model_version, cohort.population), []).append(cohort)
    for (name, version, population), months in groups.items():
        sums = ScoreSums()
        for cohort in months:
            sums += cohort.performance.sums
        yield Total(
            model_name=name,
            model_version=version,
            population=population,
            predicted_count=sum(cohort.predicted_count for cohort in months),
            performance=of_sums(sums, positive=job.predictions.positive_label, fewest=outcomes.fewest),
        )


@dataclass(kw_only=True)
class OutcomeLabels:
    """What outcomes are, of the labels of the versions that predicted, and which of them are final."""

    declared: Outcomes
    versions: Mapping[int, _Version]
    """By run."""
    labels: Mapping[_Version, tuple[str, ...]]
    """None for a regression."""
    time: datetime
    _known: dict[Any, str | None] = field(default_factory=dict)

    @classmethod
    def of(cls, database: Database, job: Job, versions: Mapping[int, _Version], time: datetime) -> OutcomeLabels:
        """The labels of the versions of some runs. Raises ModelRefused, DatabaseFault."""
        assert job.outcomes is not None
        labels = {}
        for name, version in set(versions.values()):
            manifest = registry.get_version(database, name, version).manifest
            DecisionPolicy.of(job, manifest)  # refuses a job of another kind than its model
            labels[name, version] = tuple(map(str, manifest.labels))
        return cls(declared=job.outcomes, versions=versions, labels=labels, time=time)

    def label(self, outcome: Any, run_id: int) -> str | None:
        """The label that an outcome is, of the version that a run used; None if it is none."""
        version = self.versions[run_id]
        key = (type(outcome), outcome, version)
        if key not in self._known:
            self._known[key] = _as_label(outcome, self.declared.labels, self.labels[version])
        return self._known[key]

    def decision(self, found: Decided) -> DecisionCount:
        """Decisions that are alike, by the label that they are; a decision that is none is shown as it is."""
        name, version = self.versions[found.run_id]
        return DecisionCount(
            month=first_day(found.month),
            model_name=name,
            model_version=version,
            prediction=found.prediction,
            decision=self.label(found.decision, found.run_id) or str(found.decision),
            reason="" if found.reason is None else str(found.reason),
            decided_by="" if found.decided_by is None else str(found.decided_by),
            decision_count=found.decision_count,
        )

    def is_mature(self, month: int) -> bool:
        """Whether the outcomes of all decisions of a month are final."""
        return self.mature_at(month) <= self.time

    def mature_at(self, month: int) -> datetime:
        """When they are."""
        end = datetime.combine(first_day(month + 1), datetime.min.time(), tzinfo=UTC)
        return end + self.declared.performance_window


@dataclass(kw_only=True)
class _Pairs:
    """The outcomes of a cohort."""

    outcomes: list[str] = field(default_factory=list)
    predictions: list[str] = field(default_factory=list)
    numbers: array[float] = field(default_factory=lambda: array("d"))
    scores: array[float] = field(default_factory=lambda: array("d"))
    is_exploration: bytearray = field(default_factory=bytearray)


@dataclass
class _Gathering:
    """Gathers outcomes by month and model version."""

    job: Job
    labels: OutcomeLabels
    pair_count: int = 0
    next_at: datetime | None = None
    counts: Counter[str] = field(default_factory=Counter)
    decided: Counter[tuple[int, _Version, bool]] = field(default_factory=Counter)
    """Predictions that were decided on, by month, version and whether at random."""
    found: dict[tuple[int, _Version], _Pairs] = field(default_factory=dict)

    @property
    def is_regression(self) -> bool:
        return self.job.predictions.kind == "regression"

    def add(self, pair: Pair) -> None:
        """Add a row of the outcomes."""
        version = self.labels.versions[pair.run_id]
        if pair.is_latest:
            self.decided[pair.month, version, is_true(pair.exploration)] += 1
        if pair.outcome is None:
            return
        self.pair_count += 1
        if not pair.is_latest:
            self.counts["duplicate_count" if pair.outcome == pair.later else "reversal_count"] += 1
            return
        outcome = _number(pair.outcome) if self.is_regression else self.labels.label(pair.outcome, pair.run_id)
        if outcome is None:
            self.counts["invalid_count"] += 1
            return
        if not self.labels.is_mature(pair.month):
            self.counts["immature_count"] += 1
            mature_at = self.labels.mature_at(pair.month)
            self.next_at = mature_at if self.next_at is None else min(self.next_at, mature_at)
            return
        self.counts["used_count"] += 1
        pairs = self.found.setdefault((pair.month, version), _Pairs())
        if isinstance(outcome, float):
            pairs.numbers.append(outcome)
        else:
            pairs.outcomes.append(outcome)
            pairs.predictions.append(pair.prediction or "")
        pairs.scores.append(float("nan") if pair.score is None else pair.score)
        pairs.is_exploration.append(is_true(pair.exploration))

    def check(self) -> None:
        """Raise InputFault where no outcome is one that the model could have predicted."""
        if self.counts["invalid_count"] and not self.found and not self.counts["immature_count"]:
            expected = "numbers"
            if not self.is_regression:
                labels = sorted({label for labels in self.labels.labels.values() for label in labels})
                expected = f"the labels {', '.join(labels)}; name the label of each value in [outcomes] labels"
            raise InputFault(
                f"none of {counted(self.counts['invalid_count'], 'outcome')} of job {self.job.name} in column"
                f" {self.labels.declared.outcome} is one that its model could predict: expected {expected}"
            )

    def cohorts(self, made: Iterable[Predicted]) -> Iterator[Cohort]:
        """The cohorts that are mature, given how many predictions were made."""
        of_all, of_exploration, of_others = Counter[Any](), Counter[Any](), Counter[Any]()
        for (month, version, is_exploration), count in self.decided.items():
            of_all[month, version] += count
            of_exploration[month, version] += count if is_exploration else 0
        if self.labels.declared.decided_at is None:
            of_all.clear()
            for one in made:
                of_all[one.month, self.labels.versions[one.run_id]] += one.count
        positive = self.job.predictions.positive_label
        for one in made:
            if one.prediction != positive:
                of_others[one.month, self.labels.versions[one.run_id]] += one.count
        months = sorted(key for key in of_all | Counter(self.found.keys()) if self.labels.is_mature(key[0]))
        for key in months:
            pairs = self.found.get(key, _Pairs())
            hidden = self._hidden(pairs, of_others[key])
            everybody = np.ones(len(pairs.scores), dtype=bool)
            yield self._cohort(key, "all", pairs, everybody, of_all[key], hidden)
            if of_exploration[key]:
                chosen = np.frombuffer(bytes(pairs.is_exploration), dtype=bool)
                yield self._cohort(key, "exploration", pairs, chosen, of_exploration[key], None)

    def _hidden(self, pairs: _Pairs, others: int) -> str | None:
        """Why figures of all positive rows are not known: rows that were predicted otherwise have no outcome."""
        positive = self.job.predictions.positive_label
        known = sum(label != positive for label in pairs.predictions)
        if known >= _COVERED * others:
            return None
        return f"outcomes are known of {known:,} of the {others:,} predictions that are not {positive}"

    def _cohort(
        self,
        key: tuple[int, _Version],
        population: Population,
        pairs: _Pairs,
        chosen: Any,
        predicted_count: int,
        hidden: str | None,
    ) -> Cohort:
        month, (name, version) = key
        return Cohort(
            month=first_day(month),
            model_name=name,
            model_version=version,
            population=population,
            predicted_count=predicted_count,
            performance=self._performance(pairs, chosen, hidden),
        )

    def _performance(self, pairs: _Pairs, chosen: Any, hidden: str | None) -> Performance:
        fewest, kind = self.labels.declared.fewest, self.job.predictions.kind
        scores = np.frombuffer(pairs.scores, dtype=float)[chosen]
        if kind == "regression":
            return regression(np.frombuffer(pairs.numbers, dtype=float)[chosen], scores, fewest=fewest)
        return classification(
            np.array(pairs.outcomes, dtype=object)[chosen],
            np.array(pairs.predictions, dtype=object)[chosen],
            scores if kind == "binary" else None,
            positive=self.job.predictions.positive_label,
            fewest=fewest,
            hidden=hidden,
        )


def _as_label(outcome: Any, names: Mapping[str, str], labels: Sequence[str]) -> str | None:
    """The label of a model that an outcome is; None if it is none. 1, 1.0, "1" and true are the same."""
    forms = [str(outcome)]
    if isinstance(outcome, bool):
        forms += [str(outcome).lower(), str(int(outcome))]
    elif not isinstance(outcome, str):
        number = _number(outcome)
        if number is not None and number.is_integer():
            forms += [str(int(number)), f"{number:.1f}"]
            forms += ["True", "true"] if number == 1 else ["False", "false"] if number == 0 else []
    named = (names[form] for form in forms if form in names)
    return next((label for label in (*named, *forms) if label in labels), None)


def _number(outcome: Any) -> float | None:
    try:
        number = float(outcome)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None
