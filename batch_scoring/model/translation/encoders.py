"""Translation of fitted transformers of missing values, categories and bins."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from batch_scoring.domain.expressions import Coalesce, Comparison, Condition, IsNull, Not, Number
from batch_scoring.model.translation.features import (
    Choice,
    Feature,
    Keyed,
    NotTranslatable,
    Numeric,
    Table,
    constant,
    numbers,
)

# --- missing values


def _is_missing(missing: Any) -> Callable[[Any], bool]:
    if missing is None:
        return lambda value: value is None
    if isinstance(missing, float) and np.isnan(missing):
        return lambda value: isinstance(value, float) and bool(np.isnan(value))
    raise NotTranslatable(f"missing values given as {missing!r} have no translation")


def simple_imputer(imputer: Any, table: Table) -> Table:
    """SimpleImputer: missing values are replaced by a statistic of their column."""
    is_missing = _is_missing(imputer.missing_values)
    features: list[Feature] = []
    for feature, statistic in zip(table.features, imputer.statistics_, strict=True):
        is_empty = isinstance(statistic, float | np.floating) and bool(np.isnan(statistic))
        if is_empty and not imputer.keep_empty_features:
            continue  # the column is dropped
        features.append(_imputed(feature, statistic, is_missing))
    if imputer.indicator_ is not None:
        features += indicator(imputer.indicator_, table).features
    return table.with_features(features)


def _imputed(feature: Feature, statistic: Any, is_missing: Callable[[Any], bool]) -> Feature:
    if isinstance(feature, Keyed):
        values = tuple(statistic if is_missing(value) else value for value in feature.values)
        return Keyed(conditions=feature.conditions, values=values)
    if isinstance(feature, Choice):
        filled = tuple(float(statistic) if value is not None and np.isnan(value) else value for value in feature.values)
        return Choice(conditions=feature.conditions, values=filled)
    if not feature.nullable:
        return feature
    return Numeric(expression=Coalesce(feature.expression, constant(statistic)), nullable=False)


def indicator(fitted: Any, table: Table) -> Table:
    """MissingIndicator: whether values are missing."""
    is_missing = _is_missing(fitted.missing_values)
    features: list[Feature] = []
    for position in fitted.features_:
        feature = table.features[position]
        if isinstance(feature, Numeric):
            is_null = IsNull(feature.expression)
            features.append(Choice(conditions=(is_null, Not(is_null)), values=(1.0, 0.0)))
        else:
            values = tuple(
                None if value is None and isinstance(feature, Choice) else float(is_missing(value))
                for value in feature.values
            )
            features.append(Choice(conditions=feature.conditions, values=values))
    return table.with_features(features)


# --- categories


def _encoder(encoder: Any, table: Table, widths: Sequence[int], categories: Sequence[Any]) -> Table:
    """Encode each value that a column may hold by the encoder itself; its output depends on one column at a time."""
    keyed_columns = [_as_keyed(feature, known) for feature, known in zip(table.features, categories, strict=True)]
    features: list[Feature] = []
    start = 0
    for position, (column, width) in enumerate(zip(keyed_columns, widths, strict=True)):
        outputs = _encoded(encoder, position, column.values, categories)[:, start : start + width]
        for values in outputs.T:
            found = tuple(None if value is None else float(value) for value in values)
            features.append(Choice(conditions=column.conditions, values=found))
        start += width
    return table.with_features(features)


def _as_keyed(feature: Feature, categories: Sequence[Any]) -> Keyed:
    if isinstance(feature, Keyed):
        return feature
    if isinstance(feature, Choice):
        return Keyed(conditions=feature.conditions, values=feature.values)
    known = [value for value in categories if isinstance(value, int | float | np.number | np.bool_)]
    numbers_known = [float(value) for value in known if not np.isnan(value)]
    expression = feature.expression
    conditions: list[Condition] = [Comparison(expression, "=", constant(value)) for value in numbers_known]
    values: list[Any] = list(numbers_known)
    if feature.nullable:
        conditions.insert(0, IsNull(expression))
        values.insert(0, np.nan)
    conditions.append(Not(IsNull(expression)))  # any other number
    values.append(max(numbers_known, default=0.0) + 1.5)
    return Keyed(conditions=tuple(conditions), values=tuple(values))


def _encoded(encoder: Any, position: int, values: Sequence[Any], categories: Sequence[Any]) -> Any:
    """The outputs for each value of one column, shape (values, outputs); a row of None where the encoder raises."""
    rows = pd.DataFrame(
        {i: [known[0] if len(known) else None] * len(values) for i, known in enumerate(categories)}, dtype=object
    )
    rows[position] = pd.Series(list(values), dtype=object)
    is_number = [all(isinstance(v, int | float | np.number) for v in known) for known in categories]
    for i, numeric in enumerate(is_number):
        if numeric and all(isinstance(value, int | float | np.number) for value in rows[i]):
            rows[i] = rows[i].astype(np.float64)
    names = getattr(encoder, "feature_names_in_", None)
    if names is not None:
        rows.columns = pd.Index(names)
    whole = _outputs(encoder, rows)
    if whole is not None:
        return whole
    each = [_outputs(encoder, rows.iloc[i : i + 1]) for i in range(len(rows))]
    width = next((found.shape[1] for found in each if found is not None), 0)
    return np.array([[None] * width if found is None else list(found[0]) for found in each], dtype=object)


def _outputs(encoder: Any, rows: pd.DataFrame) -> Any | None:
    given = rows if getattr(encoder, "feature_names_in_", None) is not None else rows.to_numpy()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = encoder.transform(given)
    except Exception:  # a value that the encoder refuses
        return None
    return np.asarray(found.todense() if hasattr(found, "todense") else found)


def one_hot_encoder(encoder: Any, table: Table) -> Table:
    """OneHotEncoder: a column for each category."""
    return _encoder(encoder, table, encoder._n_features_outs, encoder.categories_)  # noqa: SLF001 - no public attribute


def ordinal_encoder(encoder: Any, table: Table) -> Table:
    """OrdinalEncoder: a number for each category."""
    return _encoder(encoder, table, [1] * len(encoder.categories_), encoder.categories_)


def category_indicators(transformer: Any, table: Table) -> Table:
    """CategoryIndicators of this package."""
    return _encoder(transformer, table, [len(known) for known in transformer.categories_], transformer.categories_)


# --- bins


def weight_of_evidence(transformer: Any, table: Table) -> Table:
    """WeightOfEvidence of this package."""
    features: list[Feature] = []
    fitted = zip(table.features, transformer.edges_, transformer.texts_, transformer.weights_, strict=True)
    for feature, edges, categories, weights in fitted:
        if categories is not None:
            keyed_feature = _as_keyed(feature, categories)
            place = {text: number for number, text in enumerate(categories)}
            values = tuple(
                float(weights[-1]) if _is_absent(value) else float(weights[place[value]]) if value in place else 0.0
                for value in keyed_feature.values
            )
            features.append(Choice(conditions=keyed_feature.conditions, values=values))
        elif isinstance(feature, Numeric):
            binned = _binned(feature, edges)
            conditions = (IsNull(feature.expression), *binned.conditions)
            features.append(Choice(conditions=conditions, values=(float(weights[-1]), *map(float, weights[:-1]))))
        elif isinstance(feature, Choice):
            reached = tuple(
                None
                if value is None
                else float(weights[-1] if np.isnan(value) else weights[np.searchsorted(edges, value, side="right")])
                for value in feature.values
            )
            features.append(Choice(conditions=feature.conditions, values=reached))
        else:
            raise NotTranslatable("a scorecard of categories that are numbers has no translation")
    return table.with_features(features)


def _is_absent(value: Any) -> bool:
    return value is None or (isinstance(value, float) and bool(np.isnan(value)))


def binarizer(transformer: Any, table: Table) -> Table:
    """Binarizer: whether a number is above a threshold."""
    edges = [np.array([np.nextafter(transformer.threshold, np.inf)])] * len(table.features)
    features = [_binned(feature, edge) for feature, edge in zip(numbers(table, transformer), edges, strict=True)]
    return table.with_features(features)


def k_bins_discretizer(transformer: Any, table: Table) -> Table:
    """KBinsDiscretizer: the bin of a number, or a column for each bin."""
    found = numbers(table, transformer)
    binned = [_binned(feature, edges[1:-1]) for feature, edges in zip(found, transformer.bin_edges_, strict=True)]
    if transformer.encode == "ordinal":
        return table.with_features(binned)
    features: list[Feature] = []
    for column, count in zip(binned, transformer.n_bins_, strict=True):
        for bin_ in range(count):
            values = tuple(None if value is None else float(value == bin_) for value in column.values)
            features.append(Choice(conditions=column.conditions, values=values))
    return table.with_features(features)


def _binned(feature: Numeric | Choice, edges: Any) -> Choice:
    """The number of edges that a value has reached. scikit-learn refuses a missing value."""
    if isinstance(feature, Choice):
        reached = tuple(
            None if value is None or np.isnan(value) else float(np.searchsorted(edges, value, side="right"))
            for value in feature.values
        )
        return Choice(conditions=feature.conditions, values=reached)
    value = feature.expression
    conditions: list[Condition] = [Comparison(value, "<", Number(float(edge))) for edge in edges]
    conditions.append(Not(IsNull(value)))
    return Choice(conditions=tuple(conditions), values=tuple(float(i) for i in range(len(conditions))))
