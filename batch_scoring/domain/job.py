"""Job: the validated content of ``jobs/<name>.toml``."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from batch_scoring.domain import mlflow_uri
from batch_scoring.domain.durations import Duration
from batch_scoring.domain.fairness import Fairness
from batch_scoring.domain.limits import Monitoring, Share
from batch_scoring.domain.names import ALIAS, MODEL_NAME, Column, Table, TableName
from batch_scoring.domain.outcomes import Outcomes
from batch_scoring.domain.retraining import Retraining
from batch_scoring.domain.schedule import Schedule
from batch_scoring.domain.section import Section

Kind = Literal["binary", "multiclass", "regression", "label"]
UnseenCategories = Literal["score", "quarantine"]
OnNewVersion = Literal["keep", "rescore"]
Deleted = Literal["keep", "close"]
EngineChoice = Literal["auto", "python", "database"]


def _label(label: object) -> object:
    return str(label) if isinstance(label, bool | int | float) else label


class Source(Section):
    """``[source]``: where the rows come from."""

    table: Table
    key: Annotated[list[Column], Field(min_length=1)]
    changed_at: Column | None = None
    where: Annotated[str, Field(min_length=1)] | None = None
    lookback: Duration | None = None
    sweep: Duration | None = None
    refresh: Duration | None = None
    """The age at which an outcome is due again; None where it never is."""
    deleted: Deleted = "keep"
    max_deleted: Share = 0.05

    @property
    def table_name(self) -> TableName:
        return TableName.parse(self.table)

    @property
    def scores_once(self) -> bool:
        """Whether no change of a row and no time makes it due again."""
        return self.changed_at is None and self.refresh is None


class Model(Section):
    """``[model]``: which model scores, and what happens to unseen categories and to predictions of another version."""

    name: Annotated[str, Field(pattern=MODEL_NAME)]
    alias: Annotated[str, Field(pattern=ALIAS)] = "champion"
    uri: Annotated[str, AfterValidator(mlflow_uri.check)] | None = None
    """The model in MLflow that scores; None for the version of ``alias`` in the registry of this package."""
    cache: bool = False
    """Whether the last verified version of ``uri`` scores while the tracking server cannot be reached."""
    challengers: Annotated[list[Annotated[str, Field(pattern=ALIAS)]], Field(max_length=4)] = Field(
        default_factory=list
    )
    """Aliases whose versions score the same rows for comparison."""
    unseen_categories: UnseenCategories = "score"
    on_new_version: OnNewVersion = "keep"
    per_run: Annotated[int, Field(ge=1)] | None = None
    """The most predictions that a run replaces because of their version; None for all of them."""

    @model_validator(mode="before")
    @classmethod
    def _named_after_uri(cls, given: Any) -> Any:
        if isinstance(given, dict) and "name" not in given and (name := mlflow_uri.name_of(given.get("uri"))):
            return {**given, "name": name}
        return given

    def uses(self, name: str, alias: str) -> bool:
        """Whether the alias of a model in the registry of this package determines what scores."""
        return self.uri is None and (self.name, self.alias) == (name, alias)


class Predictions(Section):
    """``[predictions]``: where predictions are written, and how they are derived from the model's outputs."""

    table: Table = "predictions"
    kind: Kind = "binary"
    positive_label: Annotated[str | None, BeforeValidator(_label)] = None
    threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    """None stands for the model's own threshold, or 0.5 where it has none."""
    max_quarantined: Share = 0.05
    keep_inputs: bool = False

    def allows(self, *, quarantined: int, read: int) -> bool:
        """Whether a run that read ``read`` rows may quarantine ``quarantined`` of them."""
        return quarantined <= self.max_quarantined * read

    @property
    def table_name(self) -> TableName:
        return TableName.parse(self.table)


class Run(Section):
    """``[run]``: how a run reads, scores and writes rows."""

    chunk_rows: Annotated[int | None, Field(ge=1, le=10_000_000)] = None
    workers: Annotated[int, Field(ge=1, le=1024)] = 1
    engine: EngineChoice = "python"
    """Where rows are scored; "auto" takes the database if it can compute the model."""
    stalled_after: Duration = timedelta(minutes=5)
    bulk: Literal["auto", "portable"] = "auto"
    max_duration: Duration | None = None


class Promotion(Section):
    """``[promotion]``: what a version must satisfy before the alias of the job's model points to it."""

    rows: Annotated[int, Field(ge=1, le=1_000_000)] = 1_000
    """Rows of the source that are scored by both versions, chosen at random."""
    max_flips: Share | None = None
    """The share of these rows whose label may change; None for any."""
    max_accuracy_drop: Share | None = None
    max_roc_auc_drop: Share | None = None
    """How far the cross-validated metrics may be below those of the version in use; None for any."""
    require_approval: bool = False
    """Whether a promotion must be proposed by one login and approved by another."""


class MLflow(Section):
    """``[mlflow]``: the tracking server, and whether runs are logged there."""

    tracking_uri: Annotated[str, Field(min_length=1)] | None = None
    """None for that of the environment variable MLFLOW_TRACKING_URI."""
    experiment: Annotated[str, Field(min_length=1)] | None = None
    """The experiment of trainings and runs; None for the name of the job."""
    log_runs: bool = False
    """Whether each run that scored is logged as a run of MLflow."""


class Training(Section):
    """``[training]``: labelled rows, the features that ``train`` derives from them, and what the model is for."""

    query: Annotated[str, Field(min_length=1)] | None = None
    """A SELECT of labelled rows; None where a file is given to ``train``."""
    label: Column | None = None
    """The column with the outcome."""
    time: Column | None = None
    """The column with the time at which a row was known, for ``--as-of``."""
    purpose: Annotated[str, Field(min_length=1)] | None = None
    limits: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list)
    """What the model card says of it: what it is for, and what it is not for."""
    groups: list[Column] = Field(default_factory=list)
    """Columns by whose values the card shows figures. They need not be features."""

    ignore: list[Column] = Field(default_factory=list)
    sums: dict[str, Annotated[list[Column], Field(min_length=2)]] = Field(default_factory=dict)
    logs: list[Column] = Field(default_factory=list)


class Job(Section):
    """What to score, with which model, into which table."""

    name: str
    source: Source
    model: Model
    predictions: Predictions
    run: Run = Run()
    schedule: Schedule | None = None
    promotion: Promotion = Promotion()
    monitoring: Monitoring = Monitoring()
    outcomes: Outcomes | None = None
    fairness: Fairness | None = None
    retraining: Retraining = Retraining()
    mlflow: MLflow = MLflow()
    training: Training = Training()
