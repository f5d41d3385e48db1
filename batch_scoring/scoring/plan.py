"""The plan of a run: everything needed to score its rows. Frozen and picklable, so that any engine can execute it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from batch_scoring.domain.column_types import InputColumn
from batch_scoring.domain.decision import DecisionPolicy
from batch_scoring.domain.job import Job
from batch_scoring.domain.keys import TextKey
from batch_scoring.domain.manifest import Manifest
from batch_scoring.domain.model_version import ModelVersion
from batch_scoring.domain.runs import Mode
from batch_scoring.model.artifact import ArtifactReference
from batch_scoring.store.drift.windows import Period
from batch_scoring.store.due.query import DueQuery
from batch_scoring.store.engine.database import Database
from batch_scoring.store.source.lookup import find
from batch_scoring.store.source.selection import Request, Selection
from batch_scoring.store.source.table import SourceTable

if TYPE_CHECKING:
    from batch_scoring.mlflow.resolution import Resolved


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelPlan:
    """The model of a run, and how its outputs become labels."""

    name: str
    version: int
    artifact: ArtifactReference
    manifest: Manifest
    policy: DecisionPolicy
    allow_version_mismatch: bool
    returns_inputs: bool
    """Whether the scorer returns the inputs of scored rows, to be stored with the predictions."""

    def is_of(self, version: ModelVersion) -> bool:
        """Whether it is the plan of this version."""
        return (self.name, self.version) == (version.name, version.version)


@dataclass(frozen=True, kw_only=True, slots=True)
class Challenger:
    """A version that scores the same rows for comparison."""

    alias: str
    version: int | None
    """None where the alias points to none."""
    model: ModelPlan | None
    """None if it cannot score this run."""
    failure: str | None = None
    """Why it cannot."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunPlan:
    """The rows, the model and the options of a run."""

    job: Job
    run_id: int
    model: ModelPlan
    queries: tuple[DueQuery, ...]
    """The queries of due rows: one, or one for each batch of keys of a rescore."""
    stored_inputs: tuple[InputColumn, ...] = ()
    """The inputs that are stored with each prediction; empty if none are."""
    challengers: tuple[Challenger, ...] = ()
    resolved: Resolved | None = None
    """What the URI of the job's model in MLflow pointed to; None where there is none, or nothing was due."""
    workers: int = 1
    window: tuple[Period, ...] = ()
    """The periods of the runs of the window of monitoring that this run continues; empty if it begins one."""

    @property
    def mode(self) -> Mode | None:
        """The scan mode; None for a rescore, which has a selection instead."""
        return self.queries[0].scan.mode if self.queries else None

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the input columns, those of the model first."""
        models = [self.model, *(one.model for one in self.challengers if one.model is not None)]
        return tuple(dict.fromkeys(name for model in models for name in model.manifest.signature.names))


@dataclass(frozen=True, kw_only=True, slots=True)
class Rescore:
    """A manual request to score rows again, and the model version to use."""

    request: Request
    model_version: int
    continued_run_id: int | None = None
    """The interrupted rescore that is continued; None for a new rescore."""

    def selection_in(
        self, database: Database, source: SourceTable, *, since_run: int
    ) -> tuple[Selection, list[TextKey]]:
        """The selection with keys in the types of the source, and the keys that the source lacks.

        Rows that a run from ``since_run`` on has scored or quarantined are excluded. Raises DatabaseFault.
        """
        selection = replace(self.request.selection, since_run=since_run)
        if self.request.keys is None:
            return selection, []
        with database.read() as connection:
            keys, missing = find(connection, source, self.request.keys)
        return replace(selection, keys=tuple(keys)), missing
