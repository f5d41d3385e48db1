"""Translation of fitted estimators at the end of a model: their outputs as expressions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, TypeAlias

import numpy as np

from batch_scoring.domain.expressions import (
    Call,
    Case,
    Comparison,
    Condition,
    Difference,
    Either,
    Expression,
    Greatest,
    IsNull,
    Name,
    Not,
    Number,
    Product,
    Quotient,
    Sum,
)
from batch_scoring.model.translation.features import (
    Choice,
    NotTranslatable,
    Numeric,
    Table,
    class_name,
    constant,
    numbers,
)
from batch_scoring.model.translation.transformers import transform

MOST_LEAVES = 512
"""Leaves of a decision tree. Of a larger one the expression is slower than scikit-learn."""

LARGEST_SIZE = 256.0
"""The sum of the absolute terms of a linear model up to which another order of summation changes it by less than 1e-12
in the relation of the precision of a double, 1.1e-16."""

_MOST_EXPONENT = 700.0
"""exp of more is infinite, of less than its negative 0: PostgreSQL reports both as errors."""

_SINGLE = 3.4e38
"""Trees compute in single precision and refuse larger numbers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Probabilities:
    """A probability for each label, in the order of the labels."""

    values: tuple[Expression, ...]
    is_exact: bool = False
    """They are constants of the model, equal to the last bit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Logistic:
    """The probability of the second of two labels as 1 / (1 + exp(-predictor)), of a moderate predictor."""

    predictor: Expression

    @property
    def values(self) -> tuple[Expression, Expression]:
        """The probabilities of both labels."""
        exponential = Call("exp", Product((Number(-1.0), self.predictor)))
        probability = Quotient(Number(1.0), Sum((Number(1.0), exponential)))
        return Difference(Number(1.0), probability), probability


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """For each label a number that is proportional to its probability."""

    values: tuple[Expression, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Value:
    """The prediction of a regression."""

    value: Expression


Outputs: TypeAlias = Probabilities | Logistic | Weights | Value


@dataclass(slots=True)
class Steps:
    """The steps of a program under construction: features, linear predictors, and what is computed from them."""

    prefix: str = ""
    """The start of their names, so that none is that of an input."""
    features: dict[Expression, str] = field(default_factory=dict)
    predictors: dict[str, Expression] = field(default_factory=dict)
    results: dict[str, Expression] = field(default_factory=dict)
    accepted: list[Condition] = field(default_factory=list)
    summed: set[tuple[Condition, ...]] = field(default_factory=set)
    """Sets of conditions one of which must hold, since a predictor is NULL otherwise."""

    def feature(self, feature: Numeric | Choice) -> Name:
        """A feature as a value of the first step."""
        return Name(self.features.setdefault(feature.expression, f"{self.prefix}x{len(self.features) + 1}"))

    def predictor(self, expression: Expression, prefix: str = "z") -> Name:
        """A value of the second step."""
        stem = self.prefix + prefix
        name = f"{stem}{sum(found.startswith(stem) for found in self.predictors) + 1}"
        self.predictors[name] = expression
        return Name(name)

    def result(self, expression: Expression) -> Name:
        """A value of the third step."""
        name = f"{self.prefix}p{len(self.results) + 1}"
        self.results[name] = expression
        return Name(name)


def outputs_of(model: Any, table: Table, steps: Steps) -> Outputs:
    """The outputs of a fitted model. Raises NotTranslatable naming a part that has no translation."""
    if class_name(model) == "Pipeline":
        for _, step in model.steps[:-1]:
            table = transform(step, table)
        return outputs_of(model.steps[-1][1], table, steps)
    if class_name(model) in ("GridSearchCV", "RandomizedSearchCV"):
        return outputs_of(model.best_estimator_, table, steps)
    if class_name(model) in ("TunedThresholdClassifierCV", "FixedThresholdClassifier"):
        return outputs_of(model.estimator_, table, steps)
    translate = _TRANSLATIONS.get(class_name(model))
    if translate is None:
        raise NotTranslatable(f"{type(model).__name__} has no translation")
    return translate(model, table, steps)


# --- linear models


def _linear(model: Any, table: Table, steps: Steps, *, is_relative: bool = False) -> list[Name]:
    """The linear predictors of a model, one for each row of its coefficients.

    ``is_relative`` allows an error in relation to the predictor, not to 1.
    """
    coefficients = model.coef_.toarray() if hasattr(model.coef_, "toarray") else np.asarray(model.coef_)
    coefficients = np.atleast_2d(coefficients).astype(np.float64)
    intercepts = np.broadcast_to(np.asarray(model.intercept_, dtype=np.float64).ravel(), len(coefficients))
    found = list(zip(numbers(table, model), coefficients.T, strict=True))
    numeric = [(feature, own) for feature, own in found if isinstance(feature, Numeric)]
    for feature, _ in numeric:
        if feature.nullable:  # the model refuses a missing value, also where it has no influence
            steps.accepted.append(Not(IsNull(steps.feature(feature))))
    named = [(steps.feature(feature), own) for feature, own in numeric if own.any()]
    chosen = _combined([(feature, own) for feature, own in found if isinstance(feature, Choice)])
    steps.summed.update(choices[0].conditions for choices in chosen)
    predictors = []
    for row, intercept in enumerate(intercepts):
        terms: list[Expression] = [Product((constant(own[row]), name)) for name, own in named if own[row]]
        terms += [choices[row].expression for choices in chosen]
        predictors.append(steps.predictor(Sum((*terms, constant(intercept)))))
    steps.accepted += [Not(IsNull(predictor)) for predictor in predictors]
    largest = float(np.abs(intercepts).max()) + sum(_largest(choices) for choices in chosen)
    if named:
        sizes = [Product((constant(np.abs(own).max()), Call("abs", name))) for name, own in named]
        bound = steps.predictor(Sum((*sizes, constant(largest))), "size")
        limit: Expression = Number(LARGEST_SIZE)
        if is_relative:
            limit = Product((limit, Greatest((Number(1.0), Call("abs", predictors[0])))))
        steps.accepted.append(Comparison(bound, "<=", limit))
    elif largest > LARGEST_SIZE and not is_relative:
        raise NotTranslatable(f"the terms of {type(model).__name__} are up to {largest:g}")
    return predictors


def _combined(terms: Sequence[tuple[Choice, Any]]) -> list[list[Choice]]:
    """Columns times coefficients, shape (k,) each; those that depend on the same conditions are added up.

    Returns k columns for each set of conditions.
    """
    of_conditions: dict[tuple[Condition, ...], Any] = {}
    for feature, own in terms:
        # scikit-learn refuses a missing value, so that NaN stands for one and for a row that is not scored
        values = np.array([np.nan if value is None else value for value in feature.values])
        total = of_conditions.setdefault(feature.conditions, np.zeros((len(own), len(values))))
        total += np.outer(own, values)
    return [
        [Choice(conditions=conditions, values=tuple(row)) for row in total]
        for conditions, total in of_conditions.items()
    ]


def _largest(choices: Sequence[Choice]) -> float:
    return max(abs(value) for choice in choices for value in choice.values if value is not None and value == value)


def _expit(value: Expression) -> Expression:
    """1 / (1 + exp(-value)); NULL where that cannot be computed."""
    exponential = Call("exp", Product((Number(-1.0), value)))
    logistic = Quotient(Number(1.0), Sum((Number(1.0), exponential)))
    return Case(((Comparison(Call("abs", value), "<=", Number(_MOST_EXPONENT)), logistic),))


def _two(probability: Expression) -> Probabilities:
    return Probabilities(values=(Difference(Number(1.0), probability), probability))


def _logistic(model: Any, table: Table, steps: Steps) -> Outputs:
    predictors = _linear(model, table, steps)
    if len(predictors) == 1:
        return Logistic(predictor=predictors[0])
    greatest = steps.result(Greatest(tuple(predictors)))
    weights = []
    for predictor in predictors:
        less = Difference(predictor, greatest)
        is_moderate = Comparison(less, ">=", Number(-_MOST_EXPONENT))
        weights.append(Case(((is_moderate, Call("exp", less)),)))
    return Weights(values=tuple(weights))


def _sgd_classifier(model: Any, table: Table, steps: Steps) -> Outputs:
    if model.loss != "log_loss":
        raise NotTranslatable(f"SGDClassifier with loss {model.loss} has no translation")
    predictors = _linear(model, table, steps)
    if len(predictors) == 1:
        return Logistic(predictor=predictors[0])
    return Weights(values=tuple(steps.result(_expit(predictor)) for predictor in predictors))


def _calibrated(model: Any, table: Table, steps: Steps) -> Outputs:
    if model.method != "sigmoid":
        raise NotTranslatable(f"CalibratedClassifierCV with method {model.method} has no translation")
    folds: list[Sequence[Expression]] = []
    for fold in model.calibrated_classifiers_:
        if len(fold.estimator.classes_) != len(model.classes_):
            raise NotTranslatable("CalibratedClassifierCV with a fold that lacks a label has no translation")
        calibrated = []
        for calibrator, margin in zip(fold.calibrators, _margins(fold.estimator, table, steps), strict=True):
            scaled = Sum((Product((constant(calibrator.a_), margin)), constant(calibrator.b_)))
            calibrated.append(steps.result(_expit(Product((Number(-1.0), scaled)))))
        total = Sum(tuple(calibrated))
        folds.append(calibrated if len(calibrated) == 1 else [Quotient(part, total) for part in calibrated])
    count = Number(float(len(folds)))
    means: list[Expression] = [Quotient(Sum(parts), count) for parts in zip(*folds, strict=True)]
    return _two(means[0]) if len(means) == 1 else Probabilities(values=tuple(means))


def _margins(model: Any, table: Table, steps: Steps) -> list[Name]:
    if class_name(model) == "Pipeline":
        for _, step in model.steps[:-1]:
            table = transform(step, table)
        return _margins(model.steps[-1][1], table, steps)
    if class_name(model) not in ("LinearSVC", "LogisticRegression", "SGDClassifier"):
        raise NotTranslatable(f"CalibratedClassifierCV of {type(model).__name__} has no translation")
    return _linear(model, table, steps)


def _regression(model: Any, table: Table, steps: Steps) -> Outputs:
    predictors = _linear(model, table, steps, is_relative=True)
    if len(predictors) > 1:
        raise NotTranslatable(f"{type(model).__name__} predicts several values")
    return Value(value=predictors[0])


def _generalized(model: Any, table: Table, steps: Steps) -> Outputs:
    link = type(model._base_loss.link).__name__  # noqa: SLF001 - no public attribute has it where it is chosen by power
    if link == "IdentityLink":
        return _regression(model, table, steps)
    if link != "LogLink":
        raise NotTranslatable(f"{type(model).__name__} with {link} has no translation")
    (predictor,) = _linear(model, table, steps)
    is_moderate = Comparison(Call("abs", predictor), "<=", Number(_MOST_EXPONENT))
    return Value(value=steps.result(Case(((is_moderate, Call("exp", predictor)),))))


# --- trees


def _tree(model: Any, table: Table, steps: Steps) -> Outputs:
    tree = model.tree_
    if tree.n_outputs != 1:
        raise NotTranslatable(f"{type(model).__name__} predicts several values")
    if tree.n_leaves > MOST_LEAVES:
        raise NotTranslatable(
            f"a decision tree of more than {MOST_LEAVES} leaves (it has {tree.n_leaves:,}) is faster in scikit-learn"
        )
    takes_missing = model.__sklearn_tags__().input_tags.allow_nan and model.monotonic_cst is None
    used = {int(feature) for feature in tree.feature if feature >= 0}
    names: dict[int, Name] = {}
    for position, feature in enumerate(numbers(table, model)):
        if position in used or (feature.nullable and not takes_missing):
            names[position] = _of_tree(feature, steps, takes_missing=takes_missing)
    grow = _Branches(tree, names, takes_missing=takes_missing).grow
    if not hasattr(model, "classes_"):
        return Value(value=steps.predictor(grow(tree.value[:, 0, 0])))
    values = tree.value[:, 0, :]
    probabilities = tuple(steps.predictor(grow(values[:, label])) for label in range(len(model.classes_)))
    return Probabilities(values=probabilities, is_exact=True)


def _of_tree(feature: Numeric | Choice, steps: Steps, *, takes_missing: bool) -> Name:
    """A feature that a tree compares, and the conditions under which it does."""
    name = steps.feature(feature)
    is_refused = isinstance(feature, Choice) and None in feature.values
    if feature.nullable and (is_refused or not takes_missing):
        steps.accepted.append(Not(IsNull(name)))
    if isinstance(feature, Numeric):
        steps.accepted.append(Either((IsNull(name), Comparison(Call("abs", name), "<=", Number(_SINGLE)))))
    return name


@dataclass(frozen=True, slots=True)
class _Branches:
    """The branches of a tree as nested cases."""

    tree: Any
    names: Mapping[int, Name]
    _: KW_ONLY
    takes_missing: bool

    def grow(self, values: Any, node: int = 0) -> Expression:
        """The value of the leaf, given the values of all nodes."""
        tree = self.tree
        if tree.children_left[node] == -1:
            return Number(float(values[node]))
        value = self.names[int(tree.feature[node])]
        goes_left: Condition = Comparison(value, "<=", Number(_single_limit(float(tree.threshold[node]))))
        if self.takes_missing and tree.missing_go_to_left[node]:
            goes_left = Either((IsNull(value), goes_left))
        left, right = int(tree.children_left[node]), int(tree.children_right[node])
        return Case(((goes_left, self.grow(values, left)),), otherwise=self.grow(values, right))


def _single_limit(threshold: float) -> float:
    """The largest double whose nearest single is not above the threshold: trees compare singles."""
    below = np.float32(threshold)
    if float(below) > threshold:
        below = np.nextafter(below, np.float32(-np.inf))
    above = np.nextafter(below, np.float32(np.inf))
    middle = (float(below) + float(above)) / 2
    return middle if np.float32(middle) == below else float(np.nextafter(middle, -np.inf))


_TRANSLATIONS: dict[str | None, Callable[[Any, Table, Steps], Outputs]] = {
    "LogisticRegression": _logistic,
    "LogisticRegressionCV": _logistic,
    "SGDClassifier": _sgd_classifier,
    "CalibratedClassifierCV": _calibrated,
    "LinearRegression": _regression,
    "Ridge": _regression,
    "RidgeCV": _regression,
    "Lasso": _regression,
    "LassoCV": _regression,
    "ElasticNet": _regression,
    "ElasticNetCV": _regression,
    "SGDRegressor": _regression,
    "PoissonRegressor": _generalized,
    "GammaRegressor": _generalized,
    "TweedieRegressor": _generalized,
    "DecisionTreeClassifier": _tree,
    "DecisionTreeRegressor": _tree,
}
