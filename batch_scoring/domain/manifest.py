"""The manifest of an artifact: its inputs, its outputs, its metrics, and the golden rows that verify it.

This module imports neither scikit-learn nor pandas, so that a run with nothing due starts fast.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, PlainSerializer

from batch_scoring.domain.column_types import ColumnType, Family
from batch_scoring.domain.job import Kind
from batch_scoring.domain.profile import Reference, SinceFirst
from batch_scoring.domain.record import Record

Label = bool | int | float | str
Margin = Literal["decision_function", "score_samples"]


class SignatureColumn(Record):
    """One column the model takes."""

    name: str
    type: ColumnType
    nullable: bool
    categories: tuple[str, ...] | None = None
    """Texts seen in training, in order; None where there were too many to be categories. Of an integer column the
    integers, where the model was fitted on them as a categorical."""
    missing_as: Literal["nan", "none"] = "nan"
    """How a missing text or boolean reaches the model: as NaN, or as None where the model was fitted on None."""


class Signature(Record):
    """What the model takes: its columns in the order it was fitted on."""

    columns: tuple[SignatureColumn, ...]
    text_as: Literal["category", "object"] = "category"
    """How text reaches the model: as a categorical whose categories are the signature's, never a chunk's, or as
    objects. Categoricals are faster, some models take objects only."""
    unseen_as: Literal["text", "missing"] = "text"
    """How a row with a category that is not in the signature reaches a model that takes categoricals: with all its
    texts as objects, or with no category in that column, for models that do not take objects."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def columns_without_categories(self) -> tuple[str, ...]:
        """Columns of text that had too many distinct texts in the sample to list them: none is unseen there."""
        return tuple(c.name for c in self.columns if c.type is ColumnType.TEXT and c.categories is None)

    def mismatches(
        self,
        families: Mapping[str, Family],
        types: Mapping[str, str] = MappingProxyType({}),
        cast: Callable[[str, ColumnType], str] | None = None,
    ) -> list[str]:
        """A message for each column that the source lacks, or has with a type that the model cannot take.

        ``families`` maps the source's column names to their types, ``types`` those of family OTHER to their declared
        types; ``cast`` returns the SQL expression that converts a column to the type that the model takes.
        """
        found = []
        for column in self.columns:
            family = families.get(column.name)
            if family is None:
                near = [name for name in families if name.lower() == column.name.lower()]
                found.append(f"{column.name} is missing" + (f" (there is {near[0]})" if near else ""))
            elif family not in column.type.families:
                hint = f" (cast it in a view: {cast(column.name, column.type)})" if cast else ""
                shown = types.get(column.name, family)
                found.append(f"{column.name} is {shown}, the model takes {column.type}{hint}")
        return found


class Decision(Record):
    """A binary model's own decision threshold, as of scikit-learn's TunedThresholdClassifierCV."""

    label: Label
    """The label that is predicted if its probability is ``threshold`` or more."""
    threshold: float


Golden = Literal["real", "synthetic"]
"""What golden rows are made of."""


class GoldenRows(Record):
    """Rows of the training data, or synthetic rows like them, with the model's outputs for them at registration."""

    rows: tuple[tuple[Any, ...], ...]
    """Shape (n, columns of the signature); None for a missing value."""
    outputs: tuple[tuple[float, ...], ...]
    """Shape (n, k), see ModelForm."""


class TrainingData(Record):
    """The data that the model was fitted on, where it is known."""

    file: str
    """Its name; of rows of a query, what was queried."""
    sha256: str
    rows: int
    """SHA-256 of the file; of rows of a query, of these rows written as CSV in the order of their key."""
    label_column: str | None = None
    as_of: str | None = None
    """Rows from this time on were left out; None if all were taken."""
    label_counts: dict[str, int] | None = None


class CrossValidation(Record):
    """Means over the folds of a stratified k-fold cross-validation of the training data."""

    folds: int
    accuracy: float
    accuracy_std: float
    """Standard deviation of the accuracy over the folds (of the population: divided by their number)."""
    accuracy_interval: tuple[float, float] | None = None
    """95 % interval of the share of rows that were decided rightly out of fold (Wilson); None in earlier manifests."""
    roc_auc: float
    """Area under the ROC curve; of several labels, the mean of each against the rest."""
    roc_auc_interval: tuple[float, float] | None = None
    """95 % interval of the area over all rows, scored out of fold (DeLong); None for several labels."""
    log_loss: float
    """In nats."""


class HeldOut(Record):
    """How the pipeline, fitted on the rest, decided on the part of the training data that was held out."""

    rows: int
    accuracy: float
    labels: tuple[str, ...]
    confusion_matrix: tuple[tuple[int, ...], ...]
    """Shape (labels, labels): rows by their actual label, columns by the predicted one."""


FEWEST_IN_GROUP = 10
"""Groups of fewer rows have no figures: these would say little, and might tell of single persons."""


class GroupFigures(Record):
    """How rows of one group were decided out of fold."""

    column: str
    value: str | None
    """None for the rows without a value."""
    rows: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    """95 % interval (Wilson)."""
    positive_share: float | None
    """Share of the rows with the second label; None for several labels."""
    predicted_positive_share: float | None


class Candidate(Record):
    """An algorithm that a search compared, with its means over the same folds."""

    algorithm: str
    accuracy: float
    roc_auc: float
    log_loss: float


class Metrics(Record):
    """Metrics of the model from its training."""

    cross_validation: CrossValidation
    held_out: HeldOut
    groups: tuple[GroupFigures, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    """The algorithms that were compared, the best by log loss first; empty if one was named."""


class ModelForm(Record):
    """The kind of a model, and its outputs for a row: k numbers.

    binary, multiclass: ``predict_proba``, one probability for each label. regression: ``predict``. label: the index
    in ``labels`` of the label that ``predict`` returns, and the margin where there is one.
    """

    kind: Kind
    labels: tuple[Label, ...] = ()
    """Labels in the order of ``classes_``; empty for a regression."""
    margin: Margin | None = None
    """The method that returns the score of kind label; None where the model returns labels only."""
    decision: Decision | None = None
    """The model's own threshold; None where it has none."""

    @property
    def score_description(self) -> str:
        """What the score of a prediction means."""
        if self.kind != "label":
            descriptions = {
                "binary": "probability of the positive label",
                "multiclass": "probability of the label decided",
            }
            return descriptions.get(self.kind, "the value predicted")
        return {None: "none", "decision_function": "margin of the decision (decision_function)"}.get(
            self.margin, "how normal the row is (score_samples)"
        )

    @property
    def decision_description(self) -> str | None:
        """How the label is decided; None for a regression."""
        if self.kind == "regression":
            return None
        if self.kind == "label":
            return "by predict"
        if self.kind == "multiclass":
            return "the most probable label"
        if self.decision is None:
            return "the positive label at a probability of 0.5 or more, unless the job has a threshold"
        return (
            f"{self.decision.label} at a probability of {self.decision.threshold:g} or more (its own threshold), unless"
            " the job has one"
        )


def _as_stored(metrics: Metrics | None) -> dict[str, Any]:
    return {} if metrics is None else metrics.model_dump(mode="json")


class Manifest(ModelForm):
    """The metadata of an artifact."""

    algorithm: str
    format: Literal["joblib", "skops"] = "joblib"
    artifact_sha256: str
    artifact_bytes: int | None = None
    """Size of the file; None in manifests of earlier versions."""
    signature: Signature
    scikit_learn_version: str
    libraries: dict[str, str]
    golden: GoldenRows
    training_data: TrainingData | None = None
    metrics: Annotated[Metrics | None, BeforeValidator(lambda found: found or None), PlainSerializer(_as_stored)] = None
    """None where it was not trained by this package; stored as an empty object."""
    reference: Reference | None = None
    """What drift is measured against; None in manifests of earlier versions."""
    since_first: SinceFirst | None = None
    """How its rows compare with those of the first version; None where it is the first, or the first has none."""
    purpose: str | None = None
    """What the model is for, as its job says."""
    limits: tuple[str, ...] = ()
    """What it is not for, and where it is not to be trusted."""
    notes: tuple[str, ...] = ()
    """Remarks for users of the model, one sentence each, found at registration."""
    only_in_python: str | None = None
    """Why no database can compute the model; None if one can."""
    created_at: str


def listed(labels: Iterable[object]) -> str:
    """Labels or names as a message shows them."""
    return ", ".join(str(label) for label in labels)
