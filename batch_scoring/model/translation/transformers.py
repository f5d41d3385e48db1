"""Translation of fitted transformers: each takes a table of columns and returns one."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from batch_scoring.domain.expressions import (
    Call,
    Case,
    Comparison,
    Condition,
    Difference,
    Expression,
    Number,
    Product,
    Quotient,
    Sum,
)
from batch_scoring.model.translation import encoders
from batch_scoring.model.translation.features import (
    Choice,
    Feature,
    NotTranslatable,
    Numeric,
    Table,
    class_name,
    constant,
    numbers,
)

MOST_FEATURES = 2_000
"""Columns of a table; a model with more is left to scikit-learn, which computes it by matrices."""
MOST_POWERS = 4
"""The highest degree of a polynomial: the product of so many numbers neither overflows nor vanishes."""


def transform(transformer: Any, table: Table) -> Table:
    """The columns after a fitted transformer. Raises NotTranslatable naming a part that has no translation."""
    if transformer is None or (isinstance(transformer, str) and transformer == "passthrough"):
        return table
    translate = _TRANSLATIONS.get(class_name(transformer))
    if translate is None:
        raise NotTranslatable(f"{type(transformer).__name__} has no translation")
    found = translate(transformer, table)
    if len(found.features) > MOST_FEATURES:
        raise NotTranslatable(f"{type(transformer).__name__} makes more than {MOST_FEATURES:,} columns")
    return found


# --- composition


def _pipeline(pipeline: Any, table: Table) -> Table:
    return reduce(lambda current, step: transform(step[1], current), pipeline.steps, table)


def _column_transformer(transformer: Any, table: Table) -> Table:
    given = [str(name) for name in getattr(transformer, "feature_names_in_", ())]
    names = table.names if table.names is not None else given
    by_name = given if names and given else None
    features: list[Feature] = []
    for name, step, _ in transformer.transformers_:
        chosen = np.asarray(transformer._transformer_to_input_indices.get(name, ()))  # noqa: SLF001 - the columns resolved
        if (isinstance(step, str) and step == "drop") or not len(chosen):
            continue
        try:
            positions = [names.index(by_name[i]) if by_name else int(i) for i in chosen]
        except ValueError:
            raise NotTranslatable(
                f"a ColumnTransformer selects {', '.join(given)}, which are not its columns"
            ) from None
        found = transform(step, table.select(positions))
        weight = (transformer.transformer_weights or {}).get(name)
        features += found.features if weight is None else _each(found, transformer, _times(weight))
    return table.with_features(features)


def _feature_union(union: Any, table: Table) -> Table:
    features: list[Feature] = []
    for name, step in union.transformer_list:
        if isinstance(step, str) and step == "drop":
            continue
        found = transform(step, table)
        weight = (union.transformer_weights or {}).get(name)
        features += found.features if weight is None else _each(found, union, _times(weight))
    return table.with_features(features)


def _selector(selector: Any, table: Table) -> Table:
    return table.select(np.flatnonzero(selector.get_support()).tolist())


# --- functions of one number


class Function:
    """A function of one number, as an expression and computed."""

    def __init__(self, write: Callable[[Expression], Expression], compute: Callable[[Any], Any]) -> None:
        self.write = write
        self.compute = compute

    def __call__(self, feature: Numeric | Choice) -> Numeric | Choice:
        if isinstance(feature, Numeric):
            return Numeric(expression=self.write(feature.expression), nullable=feature.nullable)
        with np.errstate(all="ignore"):
            values = [None if value is None else float(self.compute(np.float64(value))) for value in feature.values]
        # scikit-learn refuses an infinite number in the next step
        values = [None if value is None or np.isinf(value) else value for value in values]
        return Choice(conditions=feature.conditions, values=tuple(values))


def _each(table: Table, transformer: Any, function: Function) -> list[Feature]:
    return [function(feature) for feature in numbers(table, transformer)]


def _times(factor: float) -> Function:
    return Function(lambda value: Product((value, constant(factor))), lambda value: value * factor)


def _less(amount: float) -> Function:
    return Function(lambda value: Difference(value, constant(amount)), lambda value: value - amount)


def _plus(amount: float) -> Function:
    return Function(lambda value: Sum((value, constant(amount))), lambda value: value + amount)


def _divided(divisor: float) -> Function:
    return Function(lambda value: Quotient(value, constant(divisor)), lambda value: value / divisor)


def _clipped(low: float, high: float) -> Function:
    def write(value: Expression) -> Expression:
        below, above = Comparison(value, "<", constant(low)), Comparison(value, ">", constant(high))
        return Case(((below, constant(low)), (above, constant(high))), otherwise=value)

    return Function(write, lambda value: np.clip(value, low, high))


def _in_turn(table: Table, transformer: Any, *steps: tuple[Callable[[float], Function], Any]) -> Table:
    """Functions with a parameter for each column, applied one after the other; parameters of None are left out."""
    features: list[Feature] = []
    for position, found in enumerate(numbers(table, transformer)):
        for function, parameters in steps:
            found = found if parameters is None else function(parameters[position])(found)
        features.append(found)
    return table.with_features(features)


def _standard_scaler(scaler: Any, table: Table) -> Table:
    mean = scaler.mean_ if scaler.with_mean else None
    return _in_turn(table, scaler, (_less, mean), (_divided, scaler.scale_))


def _robust_scaler(scaler: Any, table: Table) -> Table:
    center = scaler.center_ if scaler.with_centering else None
    return _in_turn(table, scaler, (_less, center), (_divided, scaler.scale_ if scaler.with_scaling else None))


def _max_abs_scaler(scaler: Any, table: Table) -> Table:
    if getattr(scaler, "clip", False):
        raise NotTranslatable("MaxAbsScaler with clip=True has no translation")
    return _in_turn(table, scaler, (_divided, scaler.scale_))


def _min_max_scaler(scaler: Any, table: Table) -> Table:
    scaled = _in_turn(table, scaler, (_times, scaler.scale_), (_plus, scaler.min_))
    return scaled.with_features(_each(scaled, scaler, _clipped(*scaler.feature_range))) if scaler.clip else scaled


_FUNCTIONS: dict[Any, tuple[str, Callable[[Expression], Expression]]] = {
    np.abs: ("any", lambda value: Call("abs", value)),
    np.square: ("any", lambda value: Product((value, value))),
    np.sqrt: (">= 0", lambda value: Call("sqrt", value)),
    np.exp: ("moderate", lambda value: Call("exp", value)),
    np.log: ("> 0", lambda value: Call("ln", value)),
    np.log2: ("> 0", lambda value: Quotient(Call("ln", value), Number(float(np.log(2))))),
    np.log10: ("> 0", lambda value: Quotient(Call("ln", value), Number(float(np.log(10))))),
    np.log1p: ("> -1", lambda value: Call("ln", Sum((Number(1.0), value)))),
}
"""The functions of numpy that are translated, each with its domain."""

_DOMAINS: dict[str, Callable[[Expression], Condition | None]] = {
    "any": lambda _value: None,
    ">= 0": lambda value: Comparison(value, ">=", Number(0.0)),
    "> 0": lambda value: Comparison(value, ">", Number(0.0)),
    "> -1": lambda value: Comparison(value, ">", Number(-1.0)),
    "moderate": lambda value: Comparison(Call("abs", value), "<=", Number(30.0)),
}


def _applied(table: Table, feature: Numeric | Choice, function: Any, domain: str | None = None) -> Numeric | Choice:
    """A function of numpy. Rows outside its domain are left to scikit-learn, and not computed."""
    own, write = _FUNCTIONS[function]
    of_domain = _DOMAINS[domain or own]

    def guarded(value: Expression) -> Expression:
        condition = of_domain(value)
        if condition is None:
            return write(value)
        table.require(condition, of=value)
        return write(Case(((condition, value),)))

    return Function(guarded, function)(feature)


def _function_transformer(transformer: Any, table: Table) -> Table:
    if transformer.func is None:
        return table
    if transformer.func not in _FUNCTIONS or transformer.kw_args:
        named = getattr(transformer.func, "__name__", "a function")
        raise NotTranslatable(f"a FunctionTransformer of {named} has no translation")
    return table.with_features([_applied(table, f, transformer.func) for f in numbers(table, transformer)])


def _derived_features(transformer: Any, table: Table) -> Table:
    if table.names is None:
        raise NotTranslatable("columns whose names are not known have no translation in DerivedFeatures")
    columns: dict[str, Feature] = dict(zip(table.names, table.features, strict=True))
    sums = transformer.sums or {}
    for name, parts in sums.items():
        added = numbers(table.select([table.names.index(part) for part in parts]), transformer)
        expression = Sum(tuple(part.expression for part in added))
        columns[name] = Numeric(expression=expression, nullable=any(part.nullable for part in added))
    for part in {part for parts in sums.values() for part in parts if part not in sums}:
        del columns[part]
    for name in transformer.logs:
        (amount,) = numbers(table.with_features([columns[name]]), transformer)
        columns[name] = _applied(table, amount, np.log1p, ">= 0")
    return table.with_features(list(columns.values()), list(columns))


def _polynomial_features(transformer: Any, table: Table) -> Table:
    found = numbers(table, transformer)
    if transformer.powers_.sum(axis=1).max(initial=0) > MOST_POWERS or len(transformer.powers_) > MOST_FEATURES:
        raise NotTranslatable(f"degrees above {MOST_POWERS} have no translation in PolynomialFeatures")
    features: list[Feature] = []
    for powers in transformer.powers_.tolist():
        factors = [feature for feature, power in zip(found, powers, strict=True) for _ in range(power)]
        if len(factors) == 1:
            features.append(factors[0])
            continue
        expression: Expression = Number(1.0)
        if factors:
            expression = Product(tuple(factor.expression for factor in factors))
        # scikit-learn refuses a missing value here
        features.append(Numeric(expression=expression, nullable=any(factor.nullable for factor in factors)))
    return table.with_features(features)


_TRANSLATIONS: dict[str | None, Callable[[Any, Table], Table]] = {
    "Pipeline": _pipeline,
    "ColumnTransformer": _column_transformer,
    "FeatureUnion": _feature_union,
    "VarianceThreshold": _selector,
    "SelectKBest": _selector,
    "SelectPercentile": _selector,
    "SelectFromModel": _selector,
    "RFE": _selector,
    "StandardScaler": _standard_scaler,
    "RobustScaler": _robust_scaler,
    "MaxAbsScaler": _max_abs_scaler,
    "MinMaxScaler": _min_max_scaler,
    "FunctionTransformer": _function_transformer,
    "DerivedFeatures": _derived_features,
    "PolynomialFeatures": _polynomial_features,
    "SimpleImputer": encoders.simple_imputer,
    "MissingIndicator": encoders.indicator,
    "OneHotEncoder": encoders.one_hot_encoder,
    "OrdinalEncoder": encoders.ordinal_encoder,
    "CategoryIndicators": encoders.category_indicators,
    "WeightOfEvidence": encoders.weight_of_evidence,
    "Binarizer": encoders.binarizer,
    "KBinsDiscretizer": encoders.k_bins_discretizer,
}
