"""What the manifests of two versions say, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from batch_scoring.domain.manifest import Manifest, Signature


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One metric of two versions; None if a version lacks it."""

    name: str
    before: Any
    now: Any


_FIGURES: dict[str, Callable[[Manifest], Any]] = {
    "algorithm": lambda manifest: manifest.algorithm,
    "cross-validated accuracy": lambda manifest: manifest.metrics and manifest.metrics.cross_validation.accuracy,
    "ROC AUC": lambda manifest: manifest.metrics and manifest.metrics.cross_validation.roc_auc,
    "log loss": lambda manifest: manifest.metrics and manifest.metrics.cross_validation.log_loss,
    "held-out accuracy": lambda manifest: manifest.metrics and manifest.metrics.held_out.accuracy,
    "training rows": lambda manifest: manifest.training_data and manifest.training_data.rows,
    "created": lambda manifest: manifest.created_at,
}


def figures(before: Manifest | None, now: Manifest) -> Sequence[Figure]:
    """The metrics that one of two versions has at least."""
    return [
        Figure(name=figure, before=None if before is None else value(before), now=value(now))
        for figure, value in _FIGURES.items()
        if value(now) is not None or (before is not None and value(before) is not None)
    ]


def signature_differences(before: Signature, now: Signature) -> Sequence[str]:
    """A sentence for each input that one version lacks, or that they take in other ways."""
    return list(_differences(before, now))


def _differences(before: Signature, now: Signature) -> Iterator[str]:
    old, new = ({column.name: column for column in one.columns} for one in (before, now))
    for name in old.keys() - new.keys():
        yield f"{name} is no longer an input"
    for name in new.keys() - old.keys():
        yield f"{name} is a new input"
    for name in (name for name in old if name in new):
        if old[name].type is not new[name].type:
            yield f"{name} is taken as {new[name].type} instead of {old[name].type}"
        if old[name].nullable is not new[name].nullable:
            yield f"{name} may {'' if new[name].nullable else 'no longer '}be missing"
        known, knows = set(old[name].categories or ()), set(new[name].categories or ())
        if known and knows and (known - knows or knows - known):
            yield f"{name} has {len(knows - known)} new categories and lacks {len(known - knows)}"
