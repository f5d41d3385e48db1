"""What a run does between its opening and its closing: resolve, check, find out what is due, score it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from batch_scoring.domain.column_types import InputColumn
from batch_scoring.domain.job import Job
from batch_scoring.domain.model_version import ModelVersion
from batch_scoring.errors import (
    AccessDenied,
    ConstraintViolated,
    DatabaseFault,
    DatabaseReadOnly,
    PassingFault,
    SourceFault,
    WrittenCountDiffers,
)
from batch_scoring.operations.rescore import Rescore
from batch_scoring.scoring import preparation
from batch_scoring.scoring import scan as search
from batch_scoring.scoring.events import (
    Observer,
    RunPlanned,
)
from batch_scoring.scoring.execution import Execution
from batch_scoring.scoring.heartbeat import Heartbeat
from batch_scoring.scoring.scan import Search
from batch_scoring.scoring.transient import persistently
from batch_scoring.store import registry
from batch_scoring.store.engine.database import Database
from batch_scoring.store.runs import records
from batch_scoring.store.runs.requests import record_request
from batch_scoring.store.schema import job_tables
from batch_scoring.store.schema.layout import PredictionsLayout
from batch_scoring.store.source.rows import DueCount
from batch_scoring.store.source.table import Source


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """The steps of one run, in order."""

    job: Job
    database: Database
    artifacts_dir: Path
    run_id: int
    workers: int
    allow_version_mismatch: bool
    rescore: Rescore | None
    """What somebody asked to be scored again; without it, what is due."""
    emit: Observer
    stop: threading.Event

    def carry_out(self) -> None:
        """Score what is due. Raises every kind of BatchScoringError; what was committed by then stays."""
        with Heartbeat(self.database, self.run_id, self.job.run.stalled_after) as heartbeat:
            version = persistently(self._version)
            persistently(lambda: records.record_model(self.database, self.run_id, version))
            manifest = version.manifest
            manifest.positive_index(self.job)  # refuses a model of another kind or without the label
            looking = persistently(self._search)
            source = persistently(lambda: self._source(looking))
            preparation.check_signature(manifest, source, version)
            layout = source.layout(self.job)
            self._ensure_tables(layout, preparation.kept_inputs(self.job, manifest))
            sources = persistently(lambda: self._sources(source))
            due = persistently(lambda: self._count_due(sources, layout, looking))
            self.emit(
                RunPlanned(
                    run_id=self.run_id,
                    job=self.job.name,
                    due_count=due.total,
                    mode=looking.mode,
                    is_first_of_unversioned=source.changed_at is None
                    and self.rescore is None
                    and persistently(lambda: records.last_success(self.database, self.job.name)) is None,
                )
            )
            if due.total:
                execution = Execution(self, version, manifest, sources, layout, heartbeat)
                try:
                    execution.carry_out(due.total)
                    if execution.done_count < due.total:
                        # PostgreSQL shows a table that was rewritten or emptied meanwhile as empty: look once more
                        execution.carry_out(persistently(lambda: self._due(sources, layout)).total)
                except DatabaseFault as exc:
                    self._blame_duplicates(source, exc)
                    self._blame_a_changed_source(source, exc)
                    raise
            else:  # a model that is gone is noticed by the first run without it, not by the first that needs it
                preparation.check_artifact(self.artifacts_dir, version, manifest)

    def _version(self) -> ModelVersion:
        model = self.job.model
        if self.rescore is not None:
            return registry.get_version(self.database, model.name, self.rescore.model_version)
        return registry.resolve_alias(self.database, model.name, model.alias)

    def _search(self) -> Search:
        if self.rescore is not None:
            return Search(mode=None, lookback_from=None)
        return search.choose(self.database, self.job)

    def _source(self, looking: Search) -> Source:
        with self.database.read() as connection:
            source = Source.inspect(self.database, connection, self.job)
        if looking.mode == "lookback":
            source = replace(source, since=looking.lookback_from)
        source.check_where(self.database)
        with self.database.read() as connection:
            source.check_key(connection)
        return source

    def _sources(self, source: Source) -> list[Source]:
        """Where the run looks: the source, or the pieces of it that are to be scored again."""
        if self.rescore is None:
            return [source]
        since = self.rescore.begun_by or self.run_id
        selection, _ = self.rescore.selection_in(self.database, source, since_run=since)
        if self.rescore.begun_by is None:
            record_request(self.database, self.run_id, selection, model_version=self.rescore.model_version)
        return [replace(source, again=piece) for piece in selection.pieces(self.job.run.chunk_rows)]

    def _blame_duplicates(self, source: Source, exc: DatabaseFault) -> None:
        """Raise SourceFault where the write failed because rows with the key of others came after they were counted."""
        if not isinstance(exc, ConstraintViolated | WrittenCountDiffers):
            return
        try:
            with self.database.read() as connection:
                source.check_key(connection, counts_always=True)
        except SourceFault as fault:
            raise SourceFault(
                f"{fault}. They were not there when the run started; its committed chunks stay, the rest is due"
            ) from exc
        except DatabaseFault:
            return
        if source.guarantee.doubt and isinstance(exc, ConstraintViolated):
            raise ConstraintViolated(
                f"{exc}. Nothing keeps the key of the source unique ({source.guarantee.doubt}): while the run read it,"
                " it may have held a key twice; committed chunks stay, the rest is due"
            ) from exc

    def _blame_a_changed_source(self, source: Source, exc: DatabaseFault) -> None:
        """Raise a fault that names the columns whose type changed while the run went on, where there are any."""
        if isinstance(exc, PassingFault):
            return
        try:
            with self.database.read() as connection:
                changed = source.changed_columns(Source.inspect(self.database, connection, self.job))
        except DatabaseFault:
            return
        if changed:
            raise DatabaseFault(
                f"{source.table} changed while the run read it: {', '.join(changed)}; whole chunks stay, the rest is"
                " due. `batch-scoring check` says whether the model can take the source as it is now"
            ) from exc

    def _ensure_tables(self, layout: PredictionsLayout, kept: Sequence[InputColumn]) -> None:
        try:
            persistently(lambda: job_tables.ensure_tables(self.database, self.job, layout))
            if kept:
                persistently(lambda: job_tables.ensure_inputs(self.database, layout, kept))
        except (AccessDenied, DatabaseReadOnly) as exc:
            raise type(exc)(
                f"the tables of job {self.job.name} are missing and could not be made ({exc});"
                " run `batch-scoring db upgrade` as a user who may create tables"
            ) from exc

    def _count_due(self, sources: Sequence[Source], layout: PredictionsLayout, looking: Search) -> DueCount:
        due = self._due(sources, layout, lookback_from=looking.lookback_from if looking.mode == "sweep" else None)
        records.record_plan(
            self.database,
            self.run_id,
            mode=looking.mode,
            due_count=due.total,
            sweep_only_count=due.outside_lookback,
        )
        return due

    def _due(
        self, sources: Sequence[Source], layout: PredictionsLayout, *, lookback_from: datetime | None = None
    ) -> DueCount:
        with self.database.read() as connection:
            counts = [source.count_due(connection, layout, lookback_from=lookback_from) for source in sources]
        return DueCount(
            total=sum(count.total for count in counts),
            outside_lookback=sum(count.outside_lookback for count in counts),
        )
