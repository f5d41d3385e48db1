"""Translate a model, with the policy by which its outputs become labels, to a program for a database."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from batch_scoring.domain.column_types import ColumnType
from batch_scoring.domain.decision import DecisionPolicy
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
    Program,
    Quotient,
    Sum,
    Text,
    inputs_of,
)
from batch_scoring.domain.manifest import Manifest, SignatureColumn
from batch_scoring.model.translation.features import Feature, NotTranslatable, Numeric, Table, keyed
from batch_scoring.model.translation.predictors import (
    Logistic,
    Outputs,
    Probabilities,
    Steps,
    Value,
    Weights,
    outputs_of,
)

_NEAR = 1e-9
"""A probability that is so near to a decision threshold, or to that of another label, is left to scikit-learn: the last
bits of its computation decide the label."""

_EXTREME = 1e-6
"""Thresholds nearer than this to 0 or 1 are compared with the probability, not with its logit."""

_LARGEST_VALUE = 1e300


def translate(model: Any, manifest: Manifest, policy: DecisionPolicy) -> Program:
    """The program whose scores and labels are those of the model. Raises NotTranslatable naming the part at fault."""
    try:
        return _translate(model, manifest, policy)
    except NotTranslatable:
        raise
    except Exception as exc:  # a part that was fitted in a way that its translation does not expect
        raise NotTranslatable(f"its translation failed with {type(exc).__name__}") from exc


def why_only_in_python(model: Any, manifest: Manifest) -> str | None:
    """Why the model has no translation; None if it has one."""
    last = str(manifest.labels[-1]) if manifest.labels else None
    policy = DecisionPolicy(kind=manifest.kind, positive_label=last, decided_label=last, threshold=0.5)
    try:
        translate(model, manifest, policy)
    except NotTranslatable as exc:
        return str(exc)
    return None


def _translate(model: Any, manifest: Manifest, policy: DecisionPolicy) -> Program:
    if manifest.kind == "label":
        raise NotTranslatable("labels without probabilities have no translation")
    columns = manifest.signature.columns
    table = Table(features=[_feature(column) for column in columns], names=list(manifest.signature.names))
    steps = Steps(prefix=_prefix(manifest.signature.names))
    outputs = outputs_of(model, table, steps)
    score, label, last, accepted = _result(outputs, manifest, policy, steps.prefix)
    layers = [tuple((name, expression) for expression, name in steps.features.items())]
    layers += [tuple(values.items()) for values in (steps.predictors, steps.results, last)]
    conditions = [condition for column in columns for condition in _conditions(column, steps)]
    return Program(
        inputs=inputs_of(manifest.signature),
        conditions=(*conditions, *dict.fromkeys(table.conditions)),
        steps=tuple(layer for layer in layers if layer),
        score=score,
        label=label,
        accepted=(*dict.fromkeys(steps.accepted), *accepted),
    )


def _prefix(inputs: Sequence[str]) -> str:
    """A start of names that no input has."""
    prefix = ""
    while any(re.fullmatch(rf"{prefix}(([xzpw]|size)\d+|value|decided)", name, re.IGNORECASE) for name in inputs):
        prefix += "_"
    return prefix


def _feature(column: SignatureColumn) -> Feature:
    missing = None if column.missing_as == "none" else np.nan
    if column.type is ColumnType.TEXT or column.categories is not None:
        if column.categories is None:
            raise NotTranslatable(f"column {column.name} has too many distinct texts to be categories")
        is_text = column.type is ColumnType.TEXT
        categories = column.categories if is_text else [int(category) for category in column.categories]
        return keyed(column.name, categories, missing=missing if is_text else np.nan, nullable=column.nullable)
    if column.type is ColumnType.TIMESTAMP:
        raise NotTranslatable(f"column {column.name} is a timestamp")
    if column.type is ColumnType.BOOLEAN and column.nullable:
        raise NotTranslatable(f"column {column.name} is a boolean that may be missing")
    return Numeric(expression=Name(column.name), nullable=column.nullable)


def _conditions(column: SignatureColumn, steps: Steps) -> list[Condition]:
    """That an input is one of its categories, unless the row has no score otherwise."""
    feature = _feature(column)
    if isinstance(feature, Numeric) or feature.conditions in steps.summed:
        return []
    return [Either(feature.conditions)]


_Result = tuple[Expression, Expression | None, dict[str, Expression], list[Condition]]


def _result(outputs: Outputs, manifest: Manifest, policy: DecisionPolicy, prefix: str) -> _Result:
    """Score, label, the values that they are computed from, and what must hold of these."""
    labels = [str(label) for label in manifest.labels]
    if isinstance(outputs, Value):
        score = Name(f"{prefix}value")
        is_finite = Comparison(Call("abs", score), "<=", Number(_LARGEST_VALUE))
        return score, None, {score.name: outputs.value}, [is_finite]
    if isinstance(outputs, Logistic) and manifest.kind == "binary":
        assert policy.threshold is not None
        if _EXTREME <= policy.threshold <= 1 - _EXTREME:
            return _logistic(outputs, labels, policy, policy.threshold)
        outputs = Probabilities(values=outputs.values)
    if manifest.kind == "binary" and isinstance(outputs, Probabilities):
        return _binary(outputs, labels, policy, prefix)
    return _most_probable(outputs, labels, prefix)


def _binary(outputs: Probabilities, labels: list[str], policy: DecisionPolicy, prefix: str) -> _Result:
    assert policy.positive_label is not None
    assert policy.decided_label is not None
    assert policy.threshold is not None
    decided = labels.index(policy.decided_label)
    score = probability = Name(f"{prefix}value")
    last: dict[str, Expression] = {score.name: outputs.values[labels.index(policy.positive_label)]}
    if policy.decided_label != policy.positive_label:
        probability = Name(f"{prefix}decided")
        last[probability.name] = outputs.values[decided]
    is_decided = Comparison(probability, ">=", Number(policy.threshold))
    label = Case(((is_decided, Text(labels[decided])),), otherwise=Text(labels[1 - decided]))
    accepted: list[Condition] = [Not(IsNull(probability))]
    if not outputs.is_exact:
        below = Comparison(probability, "<", Number(policy.threshold - _NEAR))
        above = Comparison(probability, ">", Number(policy.threshold + _NEAR))
        accepted = [Either((below, above))]
    return score, label, last, accepted


def _logistic(outputs: Logistic, labels: list[str], policy: DecisionPolicy, threshold: float) -> _Result:
    """The label by the predictor, so that the exponential function is computed once."""
    decided = labels.index(str(policy.decided_label))
    limit = float(np.log(threshold) - np.log1p(-threshold)) * (1.0 if decided else -1.0)
    is_second = Comparison(outputs.predictor, ">" if decided else "<", Number(limit))
    label = Case(((is_second, Text(labels[decided])),), otherwise=Text(labels[1 - decided]))
    near = _NEAR / (threshold * (1 - threshold))
    distance = Call("abs", Difference(outputs.predictor, Number(limit)))
    score = outputs.values[labels.index(str(policy.positive_label))]
    return score, label, {}, [Comparison(distance, ">", Number(near))]


def _most_probable(outputs: Probabilities | Logistic | Weights, labels: list[str], prefix: str) -> _Result:
    """The label of the largest weight, which must be larger than every other one."""
    names = [Name(f"{prefix}w{position + 1}") for position in range(len(labels))]
    last: dict[str, Expression] = {name.name: weight for name, weight in zip(names, outputs.values, strict=True)}
    largest = Greatest(tuple(names))
    branches = [(Comparison(name, "=", largest), Text(label)) for name, label in zip(names, labels, strict=True)]
    near = Product((largest, Number(1.0 - _NEAR)))
    one = Sum(tuple(Case(((Comparison(name, ">=", near), Number(1.0)),), otherwise=Number(0.0)) for name in names))
    score = largest if isinstance(outputs, Probabilities) else Quotient(largest, Sum(tuple(names)))
    accepted: list[Condition] = [Not(IsNull(name)) for name in names]
    accepted.append(Comparison(one, "=", Number(1.0)))
    return score, Case(tuple(branches)), last, accepted
