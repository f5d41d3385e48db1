"""What a run does between its opening and its closing: resolve, check, find out what is due, score it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from batch_scoring.errors import AccessDenied, DatabaseFault, DatabaseReadOnly, PassingFault, RunStopped
from batch_scoring.job import Job
from batch_scoring.model.manifest import Manifest
from batch_scoring.scoring import preparation, search
from batch_scoring.scoring.events import (
    ChunkCommitted,
    Observer,
    RunPlanned,
    ScoringIsolated,
    VersionMismatchAccepted,
)
from batch_scoring.scoring.heartbeat import Heartbeat
from batch_scoring.scoring.retrying import persistently
from batch_scoring.scoring.search import Search
from batch_scoring.store import migrations, models, runs
from batch_scoring.store.database import Database
from batch_scoring.store.history import deaths_in_a_row
from batch_scoring.store.models import ModelVersion
from batch_scoring.store.rows import EVERYTHING, DueCount, KeyRange
from batch_scoring.store.schema import PredictionsLayout
from batch_scoring.store.source import Source

if TYPE_CHECKING:
    from batch_scoring.model.scorer import Scorer
    from batch_scoring.scoring.chunk import ChunkWork, CommittedChunk

_ROWS_WORTH_A_WORKER = 5_000
"""With fewer rows than this for each, more processes cost more than they bring."""


DEATHS_BEFORE = 2
"""Runs that died one after the other before the next one scores in a process of its own."""

_STOPPED = "the run was asked to stop and did so between two chunks; the rest is due"


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """The steps of one run, in order."""

    job: Job
    database: Database
    artifacts_dir: Path
    run_id: int
    workers: int
    allow_version_mismatch: bool
    emit: Observer
    stop: threading.Event

    def carry_out(self) -> None:
        """Score what is due. Raises every kind of BatchScoringError; what was committed by then stays."""
        with Heartbeat(self.database, self.run_id, self.job.run.stalled_after) as heartbeat:
            version = persistently(
                lambda: models.resolve_alias(self.database, self.job.model.name, self.job.model.alias)
            )
            persistently(lambda: runs.record_model(self.database, self.run_id, version))
            manifest = preparation.manifest_of(version)
            manifest.positive_index(self.job)  # refuses a model of another kind or without the label
            looking = persistently(lambda: search.choose(self.database, self.job))
            source = persistently(lambda: self._source(looking))
            preparation.check_signature(manifest, source, version)
            layout = source.layout(self.job)
            self._ensure_tables(layout)
            due = persistently(lambda: self._count_due(source, layout, looking))
            self.emit(RunPlanned(run_id=self.run_id, job=self.job.name, due_count=due.total, mode=looking.mode))
            if due.total:
                try:
                    _Scoring(self, version, manifest, source, layout, heartbeat).carry_out(due.total)
                except DatabaseFault as exc:
                    self._blame_a_changed_source(source, exc)
                    raise

    def _source(self, looking: Search) -> Source:
        with self.database.read() as connection:
            source = Source.inspect(self.database, connection, self.job)
        if looking.mode == "lookback":
            source = replace(source, since=looking.lookback_from)
        source.check_where(self.database)
        with self.database.read() as connection:
            source.check_key(connection)
        return source

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

    def _ensure_tables(self, layout: PredictionsLayout) -> None:
        try:
            persistently(lambda: migrations.ensure_tables(self.database, self.job, layout))
        except (AccessDenied, DatabaseReadOnly) as exc:
            raise type(exc)(
                f"the tables of job {self.job.name} are missing and could not be made ({exc});"
                " run `batch-scoring db upgrade` as a user who may create tables"
            ) from exc

    def _count_due(self, source: Source, layout: PredictionsLayout, looking: Search) -> DueCount:
        window = looking.lookback_from if looking.mode == "sweep" else None
        with self.database.read() as connection:
            due = source.count_due(connection, layout, lookback_from=window)
        runs.record_plan(
            self.database,
            self.run_id,
            mode=looking.mode,
            due_count=due.total,
            sweep_only_count=due.outside_lookback,
        )
        return due


class _Scoring:
    """The part of an attempt that needs the model: in this process, or in several."""

    def __init__(
        self,
        attempt: Attempt,
        version: ModelVersion,
        manifest: Manifest,
        source: Source,
        layout: PredictionsLayout,
        heartbeat: Heartbeat,
    ) -> None:
        self.attempt = attempt
        self.manifest = manifest
        self.heartbeat = heartbeat
        self.artifact = preparation.artifact_of(attempt.artifacts_dir, version)
        self.version = version
        self.source = source
        self.layout = layout

    def carry_out(self, due_count: int) -> None:
        from batch_scoring.scoring.chunk import ChunkWork

        work = ChunkWork(
            job=self.attempt.job,
            run_id=self.attempt.run_id,
            model_version=self.version.version,
            source=self.source,
            layout=self.layout,
            features=self.manifest.signature.names,
        )
        deaths = persistently(self._deaths)
        if deaths >= DEATHS_BEFORE:
            self._isolated(work, due_count, deaths)
            return
        ranges = self._ranges(due_count)
        if len(ranges) > 1:
            self._in_processes(work, ranges)
        else:
            self._here(work, due_count)

    def _deaths(self) -> int:
        return deaths_in_a_row(self.attempt.database, self.attempt.job.name, before=self.attempt.run_id)

    def _ranges(self, due_count: int) -> list[KeyRange]:
        attempt = self.attempt
        if attempt.workers == 1:
            return [EVERYTHING]
        fewest = min(_ROWS_WORTH_A_WORKER, attempt.job.run.chunk_rows or _ROWS_WORTH_A_WORKER)
        if due_count <= fewest:
            return [EVERYTHING]
        return persistently(lambda: self._cut(fewest))

    def _cut(self, fewest: int) -> list[KeyRange]:
        from batch_scoring.scoring.workers import guided

        with self.attempt.database.read() as connection:
            total = self.source.count(connection)
            return self.source.cut(connection, guided(total, workers=self.attempt.workers, fewest=fewest))

    def _here(self, work: ChunkWork, due_count: int) -> None:
        from batch_scoring.scoring.chunk import ChunkStages
        from batch_scoring.scoring.pipeline import Pipeline

        def load() -> Scorer:
            scorer, differs = preparation.load_scorer(
                self.artifact,
                self.manifest,
                self.attempt.job,
                allow_version_mismatch=self.attempt.allow_version_mismatch,
            )
            self._record_environment(differs)
            return scorer

        stages = ChunkStages(work, self.attempt.database, load)
        Pipeline(stages, self._report, self._check).run(due_count=due_count)

    def _isolated(self, work: ChunkWork, due_count: int, deaths: int) -> None:
        from batch_scoring.scoring.chunk import ChunkStages
        from batch_scoring.scoring.isolation import IsolatedScorer, Recipe
        from batch_scoring.scoring.pipeline import Pipeline

        attempt = self.attempt
        attempt.emit(ScoringIsolated(run_id=attempt.run_id, job=attempt.job.name, deaths=deaths))
        recipe = Recipe(
            artifact=self.artifact,
            manifest=self.manifest,
            job=attempt.job,
            allow_version_mismatch=attempt.allow_version_mismatch,
        )
        with IsolatedScorer(recipe) as isolated:

            def load() -> IsolatedScorer:
                self._record_environment(isolated.load())
                return isolated

            stages = ChunkStages(work, attempt.database, load)
            Pipeline(stages, self._report, self._check).run(due_count=due_count)

    def _in_processes(self, work: ChunkWork, ranges: list[KeyRange]) -> None:
        import joblib

        from batch_scoring.model.scorer import check_library_version
        from batch_scoring.scoring.workers import Task, score_in_processes

        attempt = self.attempt
        self._record_environment(check_library_version(self.manifest, allow_mismatch=attempt.allow_version_mismatch))
        task = Task(
            work=work,
            database_url=attempt.database.url.render_as_string(hide_password=False),
            timeouts=attempt.database.timeouts,
            artifact=self.artifact,
            manifest=self.manifest,
            allow_version_mismatch=attempt.allow_version_mismatch,
            threads=max(1, joblib.cpu_count() // attempt.workers),
        )
        is_whole = score_in_processes(
            task, ranges, workers=attempt.workers, report=self._report, check=self._check, stop=attempt.stop
        )
        if not is_whole:
            self._check()
            raise RunStopped(_STOPPED)

    def _record_environment(self, differs: str | None) -> None:
        attempt = self.attempt
        environment = preparation.environment({"scikit_learn_version": differs} if differs else {})
        persistently(lambda: runs.record_environment(attempt.database, attempt.run_id, environment))
        if differs:
            attempt.emit(VersionMismatchAccepted(run_id=attempt.run_id, job=attempt.job.name, difference=differs))

    def _report(self, committed: CommittedChunk) -> None:
        self.attempt.emit(
            ChunkCommitted(
                run_id=self.attempt.run_id,
                job=self.attempt.job.name,
                counts=committed.counts,
                reasons=committed.reasons,
                seconds=committed.seconds,
            )
        )

    def _check(self) -> None:
        self.heartbeat.check()
        if self.attempt.stop.is_set():
            raise RunStopped(_STOPPED)
