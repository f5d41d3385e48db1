"""The plan of a run: all that scoring its rows takes. Frozen and picklable, so that any engine can execute it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from batch_scoring.domain.column_types import InputColumn
from batch_scoring.domain.decision import DecisionPolicy
from batch_scoring.domain.job import Job
from batch_scoring.domain.keys import TextKey
from batch_scoring.domain.manifest import Manifest
from batch_scoring.domain.runs import Mode
from batch_scoring.model.artifact import ArtifactReference
from batch_scoring.store.due.query import DueQuery
from batch_scoring.store.engine.database import Database
from batch_scoring.store.source.lookup import find
from batch_scoring.store.source.selection import Request, Selection
from batch_scoring.store.source.table import SourceTable


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelPlan:
    """The model that scores, and how its outputs are read."""

    name: str
    version: int
    artifact: ArtifactReference
    manifest: Manifest
    policy: DecisionPolicy
    allow_version_mismatch: bool
    returns_inputs: bool
    """Whether the inputs of scored rows are wanted back, to be stored beside the predictions."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunPlan:
    """What a run scores, with what, and how."""

    job: Job
    run_id: int
    model: ModelPlan
    queries: tuple[DueQuery, ...]
    """What is due: one query, or one for each batch of the keys of a rescore."""
    stored_inputs: tuple[InputColumn, ...] = ()
    """The inputs that are stored beside each prediction; none where they are not."""
    workers: int = 1

    @property
    def mode(self) -> Mode | None:
        """The scan mode; None for a rescore, which is told what to score."""
        return self.queries[0].scan.mode if self.queries else None

    @property
    def features(self) -> tuple[str, ...]:
        """The columns that the model takes, in order."""
        return self.model.manifest.signature.names


@dataclass(frozen=True, kw_only=True, slots=True)
class Rescore:
    """What a person asked to be scored again, and with which model version."""

    request: Request
    model_version: int
    continued_run_id: int | None = None
    """The interrupted run whose rest is to be done; None for a rescore of its own."""

    def selection_in(
        self, database: Database, source: SourceTable, *, since_run: int
    ) -> tuple[Selection, list[TextKey]]:
        """The selection with keys as the source has them, and the keys that it has not."""
        selection = replace(self.request.selection, since_run=since_run)
        if self.request.keys is None:
            return selection, []
        with database.read() as connection:
            keys, missing = find(connection, source, self.request.keys)
        return replace(selection, keys=tuple(keys)), missing
