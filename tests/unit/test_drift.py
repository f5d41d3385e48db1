"""Drift figures, compared with published examples, SciPy and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, chi2_contingency

from batch_scoring.domain.decision import DecisionPolicy
from batch_scoring.domain.drift import Drift, row_count
from batch_scoring.domain.limits import Monitoring
from batch_scoring.domain.profile import FeatureBins, FeatureCounts, Profile, Reference, ScoreBins
from batch_scoring.model import drift
from batch_scoring.model.drift import compare, homogeneity_p, larger_share_p, psi, psi_by_chance

POLICY = DecisionPolicy(kind="binary", positive_label="Y", decided_label="Y", threshold=0.5)


def test_q_values_are_those_of_the_published_example() -> None:
    # Benjamini and Hochberg (1995), section 4: four of fifteen are rejected at 0.05, and three by Bonferroni
    p_values: tuple[float, ...] = (
        0.0001,
        0.0004,
        0.0019,
        0.0095,
        0.0201,
        0.0278,
        0.0298,
        0.0344,
        0.0459,
        0.3240,
        0.4262,
        0.5719,
    )
    p_values += (0.6528, 0.7590, 1.0)
    metrics = [
        Drift(
            subject="feature",
            name=f"feature {number}",
            measure="missing",
            value=1.0,
            expected=0.0,
            p_value=p_value,
            limit=0.05,
        )
        for number, p_value in enumerate(p_values)
    ]
    found = list(drift._with_breaches(metrics, Monitoring(significance=0.05)))
    assert [one.is_breach for one in found] == [True] * 4 + [False] * 11
    assert found[3].q_value == pytest.approx(0.0095 * 15 / 4)


@pytest.mark.parametrize(
    ("due", "usual", "is_breach"),
    [
        (500, 100.0, True),
        (499, 100.0, False),
        (20, 100.0, True),
        (21, 100.0, False),
        (0, 100.0, True),
        (9, None, False),
    ],
)
def test_a_number_of_rows_is_a_breach_by_a_factor(due: int, usual: float | None, is_breach: bool) -> None:
    assert row_count(due, usual, Monitoring()).is_breach is is_breach
    switched_off = Monitoring(on_breach={"row_count": "off"})
    assert not row_count(due, usual, switched_off).is_breach


def test_the_psi_is_that_of_published_examples() -> None:
    # optbinning's tutorial on the monitoring of scorecards, FICO HELOC; without smoothing 0.006084 and 0.004776
    actual = [245, 310, 390, 187, 505, 284, 329, 177, 346, 365]
    expected = [599, 735, 939, 418, 1269, 542, 832, 401, 747, 839]
    assert psi(expected, actual) == pytest.approx(0.006084, abs=1e-5)
    actual = [236, 334, 331, 310, 416, 269, 185, 298, 407, 352]
    expected = [565, 803, 807, 729, 1015, 565, 417, 752, 823, 845]
    assert psi(expected, actual) == pytest.approx(0.004776, abs=1e-5)


def test_the_psi_is_that_computed_by_hand() -> None:
    # shares .4 .3 .3 against .35 .25 .40; of a million rows, so that the smoothing does not show
    million = np.array([0.4, 0.3, 0.3]) * 1e6, np.array([0.35, 0.25, 0.40]) * 1e6
    assert psi(million[0].tolist(), million[1].tolist()) == pytest.approx(0.04456, abs=1e-5)


def test_a_bin_that_is_empty_on_one_side_gives_a_finite_psi_and_one_on_both_none() -> None:
    assert psi([10, 90, 0], [0, 100, 0]) == psi([10, 90], [0, 100])
    assert 0 < psi([10, 90], [0, 100]) < 1
    assert psi([10], [20]) == psi([], []) == 0
    assert homogeneity_p([10, 0], [20, 0]) == 1


def test_the_psi_by_chance_is_its_mean_without_drift() -> None:
    random = np.random.default_rng(1)
    shares = np.full(10, 0.1)
    found = [
        psi(random.multinomial(614, shares).tolist(), random.multinomial(367, shares).tolist()) for _ in range(500)
    ]
    assert np.mean(found) == pytest.approx(psi_by_chance([61] * 10, [37] * 10), rel=0.1)


def test_the_tests_are_those_of_scipy() -> None:
    expected, actual = [60, 30, 10, 5], [20, 30, 10, 0]
    assert homogeneity_p(expected, actual) == pytest.approx(
        chi2_contingency([expected, actual], correction=False).pvalue, rel=1e-12
    )
    assert larger_share_p(9, 100, 4, 200) == binomtest(9, 100, 4.5 / 201, alternative="greater").pvalue


def reference(*features: FeatureBins, rows: int = 1000, is_out_of_fold: bool = True) -> Reference:
    scores = ScoreBins(
        low=0, high=1, counts=dict.fromkeys(range(50, 1000, 100), rows // 10), is_out_of_fold=is_out_of_fold
    )
    return Reference(
        origin="training", rows=rows, features=features, scores=scores, labels={"N": rows // 2, "Y": rows // 2}
    )


NUMBER = FeatureBins(name="x", edges=(0.0,), low=-1, high=1, counts=(500, 500, 0, 0), importance=0.25)
WORD = FeatureBins(name="w", levels=("a", "b"), counts=(500, 500, 0, 0, 0, 0))


def profile(x: tuple[int, ...], w: tuple[int, ...], *, above: int = 0, scores: dict[int, int] | None = None) -> Profile:
    rows = sum(x)
    found = scores if scores is not None else dict.fromkeys(range(50, 1000, 100), rows // 10)
    of_positive = sum(count for number, count in found.items() if number >= 500)
    return Profile(
        rows=rows,
        features={"x": FeatureCounts(counts=x, above=above, low=-1, high=1), "w": FeatureCounts(counts=w)},
        scores=found,
        labels={"N": sum(found.values()) - of_positive, "Y": of_positive},
    )


def alerts(found: Profile, of: Reference | None = None) -> set[tuple[str, str]]:
    report = compare(of or reference(NUMBER, WORD), POLICY, found, Monitoring())
    return {(one.name, one.measure) for one in report.breaches}


def test_what_changed_is_named_and_nothing_else() -> None:
    assert alerts(profile((200, 200, 0, 0), (200, 200, 0, 0, 0, 0))) == set()
    assert alerts(profile((100, 300, 0, 0), (200, 200, 0, 0, 0, 0))) == {("x", "distribution")}
    assert alerts(profile((200, 200, 0, 0), (200, 200, 0, 0, 0, 0), above=60)) == {("x", "out_of_range")}
    missing = alerts(profile((150, 150, 100, 0), (200, 200, 0, 0, 0, 0)))
    assert missing == {("x", "distribution"), ("x", "missing")}
    unseen = alerts(profile((200, 200, 0, 0), (180, 180, 0, 40, 0, 0)))
    assert ("w", "unseen") in unseen
    invalid = alerts(profile((190, 190, 0, 20), (200, 200, 0, 0, 0, 0)))
    assert ("x", "invalid") in invalid
    upper = profile((200, 200, 0, 0), (200, 200, 0, 0, 0, 0), scores={950: 400})
    assert alerts(upper) == {("score", "distribution"), ("prediction", "distribution")}


def test_a_small_difference_in_many_rows_and_a_large_one_in_few_are_no_alerts() -> None:
    many = profile((51_000_000, 49_000_000, 0, 0), (50_000_000, 50_000_000, 0, 0, 0, 0))
    few = profile((12, 20, 0, 0), (16, 16, 0, 0, 0, 0), scores=dict.fromkeys(range(50, 1000, 100), 3))
    assert alerts(many) == set()
    assert alerts(few) == set()


def test_scores_of_rows_that_the_model_was_fitted_on_raise_no_alert() -> None:
    upper = profile((200, 200, 0, 0), (200, 200, 0, 0, 0, 0), scores={950: 400})
    assert alerts(upper, reference(NUMBER, WORD, is_out_of_fold=False)) == set()


@pytest.mark.parametrize("rows", [1, 29])
def test_too_few_rows_give_no_figures(rows: int) -> None:
    found = profile((rows, 0, 0, 0), (rows, 0, 0, 0, 0, 0), scores={1: rows})
    report = compare(reference(NUMBER, WORD), POLICY, found, Monitoring())
    assert {one.value for one in report.metrics} == {None}
    words = "1 row" if rows == 1 else f"{rows} rows"
    assert {one.why_not for one in report.metrics} == {f"the runs read {words}, and 30 are needed"}
    of_one = compare(
        reference(NUMBER, WORD, rows=10), POLICY, profile((20, 20, 0, 0), (40, 0, 0, 0, 0, 0)), Monitoring()
    )
    assert {one.why_not for one in of_one.metrics} == {"the reference has 10 rows, and 30 are needed"}


def test_a_constant_feature_is_quiet_until_it_changes() -> None:
    constant = FeatureBins(name="x", edges=(5.0,), low=5, high=5, counts=(1000, 0, 0, 0))
    of = reference(constant, WORD)
    assert alerts(profile((400, 0, 0, 0), (200, 200, 0, 0, 0, 0)), of) == set()
    assert ("x", "distribution") in alerts(profile((300, 100, 0, 0), (200, 200, 0, 0, 0, 0)), of)


def test_a_feature_that_is_always_missing_is_quiet_until_it_is_not() -> None:
    empty = FeatureBins(name="x", edges=(), counts=(0, 1000, 0))
    of = reference(empty, WORD)
    assert alerts(profile((0, 400, 0), (200, 200, 0, 0, 0, 0)), of) == set()
    assert ("x", "distribution") in alerts(profile((100, 300, 0), (200, 200, 0, 0, 0, 0)), of)


def test_a_regression_has_no_drift_of_labels_and_says_so() -> None:
    policy = DecisionPolicy(kind="regression", positive_label=None, decided_label=None, threshold=None)
    report = compare(reference(NUMBER, WORD), policy, profile((200, 200, 0, 0), (200, 200, 0, 0, 0, 0)), Monitoring())
    found = {one.name: one for one in report.metrics if one.subject != "feature"}
    assert found["score"].value is not None
    assert found["prediction"].why_not == "a regression decides no labels"


def test_the_labels_of_the_reference_are_those_of_the_threshold_of_the_job() -> None:
    of = reference(NUMBER, WORD)
    found = profile((200, 200, 0, 0), (200, 200, 0, 0, 0, 0))
    policy = DecisionPolicy(kind="binary", positive_label="Y", decided_label="Y", threshold=0.9)
    report = compare(of, policy, found.model_copy(update={"labels": {"N": 360, "Y": 40}}), Monitoring())
    assert [one.value for one in report.metrics if one.subject == "prediction"] == [pytest.approx(0, abs=1e-4)]


def test_without_drift_one_night_in_fifty_at_most_alarms() -> None:
    random = np.random.default_rng(3)
    tenth = np.full(10, 0.1)
    for rows in (50, 200, 1_000):
        nights = 0
        for _ in range(200):
            features = tuple(
                FeatureBins(
                    name=f"f{n}", edges=tuple(range(9)), counts=(*random.multinomial(614, tenth).tolist(), 0, 0)
                )
                for n in range(11)
            )
            of = Reference(origin="training", rows=614, features=features, scores=None)
            counts = {
                bins.name: FeatureCounts(counts=(*random.multinomial(rows, tenth).tolist(), 0, 0)) for bins in features
            }
            report = compare(of, POLICY, Profile(rows=rows, features=counts), Monitoring())
            nights += bool(report.breaches)
        assert nights <= 0.02 * 200


def metric(report_of: Profile, name: str) -> Drift:
    report = compare(reference(NUMBER, WORD), POLICY, report_of, Monitoring())
    return next(one for one in report.metrics if one.name == name)


def test_the_importance_of_a_feature_is_with_its_figures() -> None:
    found = profile((200, 200, 0, 0), (200, 200, 0, 0, 0, 0))
    assert metric(found, "x").importance == 0.25
    assert metric(found, "w").importance is None
