"""How often a verdict asks for another model without need, and how often with need: part of ``make false-alarms``.

A model that is right with a given probability is judged by two months of outcomes and the limit of 0.68, 1,000 times
each. Groups with equal selection rates are compared as often. Everything is seeded.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import numpy as np

from batch_scoring.domain.fairness import GroupCounts
from batch_scoring.domain.performance import Cohort, Performance, ScoreSums
from batch_scoring.domain.retraining import Retraining
from batch_scoring.model.fairness import compare_groups
from batch_scoring.model.performance import classification
from batch_scoring.monitoring.verdict import judge

SEED = 20260101
REPETITIONS = 1_000
SETTINGS = Retraining(accuracy=0.68, fewest=20)
MONTHS = (date(2026, 1, 1), date(2026, 2, 1))


def _cohorts(random: np.random.Generator, accuracy: float, labels: int) -> Iterator[Cohort]:
    """Months of outcomes, of which the positive label is predicted for about 70 %."""
    for month in MONTHS:
        predictions = np.where(random.random(labels) < 0.7, "Y", "N").astype(object)
        is_right = random.random(labels) < accuracy
        outcomes = np.where(is_right, predictions, np.where(predictions == "Y", "N", "Y")).astype(object)
        found = classification(outcomes, predictions, None, positive="Y", fewest=20)
        yield Cohort(
            month=month,
            model_name="m",
            model_version=1,
            population="all",
            predicted_count=labels,
            performance=Performance(rows=labels, figures=found.figures, sums=ScoreSums(decided=found.sums.decided)),
        )


def _share_of_changes(random: np.random.Generator, accuracy: float, labels: int) -> tuple[float, float]:
    """How often another model is asked for, and how often a plain threshold on the latest month would."""
    changes = plain = 0
    for _ in range(REPETITIONS):
        cohorts = list(_cohorts(random, accuracy, labels))
        changes += judge(SETTINGS, cohorts, positive="Y", data_faults=()).advice == "retrain"
        figure = cohorts[-1].performance.figure("accuracy")
        assert figure is not None
        assert figure.value is not None
        plain += figure.value < 0.68
    return changes / REPETITIONS, plain / REPETITIONS


def _share_of_flags(random: np.random.Generator, rate: float, rows: int, other_rows: int) -> float:
    flagged = 0
    for _ in range(REPETITIONS):
        groups = {
            name: GroupCounts(rows=size, selected=int(random.binomial(size, rate)))
            for name, size in (("a", rows), ("b", other_rows))
        }
        figures, _ = compare_groups(MONTHS[0], "group", groups, reference="a", fewest=30)
        flagged += any(one.is_flagged for one in figures)
    return flagged / REPETITIONS


def main() -> None:
    """Print both tables."""
    random = np.random.default_rng(SEED)
    print(
        "\nVerdicts, limit 0.68:\n\n| true accuracy | outcomes a month | another model | accuracy of one month alone |"
    )
    print("| --- | --- | --- | --- |")
    for accuracy, sizes in ((0.75, (20, 50, 100)), (0.60, (50, 100, 200))):
        for labels in sizes:
            verdict, plain = _share_of_changes(random, accuracy, labels)
            print(f"| {accuracy:g} | {labels} | {verdict:.2%} | {plain:.2%} |", flush=True)
    print("\nGroups with equal rates:\n\n| rate | rows | flagged |\n| --- | --- | --- |")
    for rate in (0.2, 0.5, 0.8):
        for rows, other_rows in ((40, 40), (200, 60), (1_000, 100)):
            share = _share_of_flags(random, rate, rows, other_rows)
            print(f"| {rate:g} | {rows:,} and {other_rows:,} | {share:.2%} |", flush=True)


if __name__ == "__main__":
    main()
