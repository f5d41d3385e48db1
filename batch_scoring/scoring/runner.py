"""A run: open it, find out what is due, score it chunk by chunk, close it."""

from __future__ import annotations

import platform
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from batch_scoring.errors import (
    AccessDenied,
    BatchScoringError,
    DatabaseFault,
    DatabaseReadOnly,
    ExitCode,
    Fenced,
    RunStopped,
)
from batch_scoring.job import Job
from batch_scoring.model.manifest import Manifest
from batch_scoring.scoring import preparation
from batch_scoring.scoring.events import (
    ChunkCommitted,
    Event,
    Observer,
    RunFinished,
    RunPlanned,
    RunStarted,
    RunTookOver,
    VersionMismatchAccepted,
)
from batch_scoring.scoring.heartbeat import Heartbeat
from batch_scoring.scoring.retrying import persistently
from batch_scoring.store import migrations, models, runs
from batch_scoring.store.bulk import bulk_for
from batch_scoring.store.database import Database, Timeouts
from batch_scoring.store.runs import Run
from batch_scoring.store.schema import PredictionsLayout
from batch_scoring.store.source import Plan, Source


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """What whoever starts a run may choose."""

    trigger: runs.Trigger = "cli"
    allow_version_mismatch: bool = False


class UnexpectedFault(BatchScoringError):
    """Something failed that the package did not foresee. Recorded by its type: its text may quote a row."""


def run_job(
    job: Job,
    database_url: str,
    artifacts_dir: Path,
    *,
    options: RunOptions = RunOptions(),
    observers: Sequence[Observer] = (),
    stop: threading.Event | None = None,
) -> Run:
    """Carry out one run of a job and return its record.

    Whatever ends the run is recorded with it, as far as the database can be written, and raised: AnotherRunActive,
    ModelRefused, SourceFault, Fenced, DatabaseFault and other BatchScoringError. ``stop`` ends the run at the next
    chunk boundary with RunStopped.
    """

    def emit(event: Event) -> None:
        for observer in observers:
            observer(event)

    timeouts = Timeouts().within(job.run.stalled_after)
    database = Database(database_url, timeouts=timeouts)
    with database.read() as connection:
        migrations.check_revision(connection)
    opened = runs.open_run(
        database,
        job=job.name,
        job_config=job.model_dump(mode="json"),
        environment={"python": platform.python_version()},
        stalled_after=job.run.stalled_after,
        trigger=options.trigger,
    )
    database.label = runs.session_label(opened.run_id)
    emit(RunStarted(run_id=opened.run_id, job=job.name))
    if opened.takeover is not None:
        emit(RunTookOver(run_id=opened.run_id, job=job.name, abandoned=opened.takeover))
    attempt = _Attempt(job, database, artifacts_dir, opened.run_id, options, emit, stop or threading.Event())
    try:
        attempt.carry_out()
        persistently(lambda: runs.close_run(database, opened.run_id))
    except Fenced:
        raise
    except BatchScoringError as exc:
        _record_failure(database, opened.run_id, exc)
        raise
    except KeyboardInterrupt:
        _record_failure(
            database, opened.run_id, RunStopped("the run was interrupted; what it had not committed is due")
        )
        raise
    except Exception as exc:
        fault = UnexpectedFault(f"an unexpected {type(exc).__name__} ended the run; see the log of the process")
        _record_failure(database, opened.run_id, fault)
        raise
    finally:
        finished = _closed(database, opened.run_id)
        database.dispose()
        if finished is not None:
            emit(RunFinished(job=job.name, run=finished))
    assert finished is not None
    return finished


def exit_code(run: Run, job: Job) -> ExitCode:
    """What a finished run says to its caller."""
    if run.read_count and run.quarantined_count > job.predictions.max_quarantined * run.read_count:
        return ExitCode.TOO_MANY_QUARANTINED
    return ExitCode.DONE


def _record_failure(database: Database, run_id: int, error: BatchScoringError) -> None:
    try:
        persistently(lambda: runs.close_run(database, run_id, error=error))
    except (DatabaseFault, Fenced):
        return  # the database cannot be written; the run is taken over as abandoned, and the error is raised anyway


def _closed(database: Database, run_id: int) -> Run | None:
    try:
        return runs.get_run(database, run_id)
    except DatabaseFault:
        return None


class _Attempt:
    """The steps of one run, in order."""

    def __init__(
        self,
        job: Job,
        database: Database,
        artifacts_dir: Path,
        run_id: int,
        options: RunOptions,
        emit: Observer,
        stop: threading.Event,
    ) -> None:
        self.job = job
        self.database = database
        self.artifacts_dir = artifacts_dir
        self.run_id = run_id
        self.options = options
        self.emit = emit
        self.stop = stop

    def carry_out(self) -> None:
        with Heartbeat(self.database, self.run_id, self.job.run.stalled_after) as heartbeat:
            version = persistently(
                lambda: models.resolve_alias(self.database, self.job.model.name, self.job.model.alias)
            )
            persistently(lambda: runs.record_model(self.database, self.run_id, version))
            manifest = preparation.manifest_of(version)
            manifest.positive_index(self.job)  # refuses a model of another kind or without the label
            source = persistently(self._source)
            preparation.check_signature(manifest, source, version)
            layout = source.layout(self.job)
            self._ensure_tables(layout)
            plan = persistently(lambda: self._plan(source, layout))
            self.emit(
                RunPlanned(
                    run_id=self.run_id, job=self.job.name, due_count=plan.due_count, chunk_count=len(plan.chunks)
                )
            )
            if plan.chunks:
                self._score(plan, source, layout, version, manifest, heartbeat)

    def _source(self) -> Source:
        with self.database.read() as connection:
            source = Source.inspect(self.database, connection, self.job)
        source.check_where(self.database)
        with self.database.read() as connection:
            source.check_key(connection)
        return source

    def _ensure_tables(self, layout: PredictionsLayout) -> None:
        try:
            persistently(lambda: migrations.ensure_tables(self.database, self.job, layout))
        except (AccessDenied, DatabaseReadOnly) as exc:
            raise type(exc)(
                f"the tables of job {self.job.name} are missing and could not be made ({exc});"
                " run `batch-scoring db upgrade` as a user who may create tables"
            ) from exc

    def _plan(self, source: Source, layout: PredictionsLayout) -> Plan:
        with self.database.read() as connection:
            plan = source.plan(connection, layout, self.job.run.chunk_rows)
        runs.record_plan(self.database, self.run_id, plan.due_count)
        return plan

    def _score(
        self,
        plan: Plan,
        source: Source,
        layout: PredictionsLayout,
        version: models.ModelVersion,
        manifest: Manifest,
        heartbeat: Heartbeat,
    ) -> None:
        from batch_scoring.scoring.chunk import ChunkWork, process_chunk

        scorer, differs = preparation.load_scorer(
            preparation.artifact_of(self.artifacts_dir, version),
            manifest,
            self.job,
            allow_version_mismatch=self.options.allow_version_mismatch,
        )
        overrides = {"scikit_learn_version": differs} if differs else {}
        environment = preparation.environment(overrides)
        persistently(lambda: runs.record_environment(self.database, self.run_id, environment))
        if differs:
            self.emit(VersionMismatchAccepted(run_id=self.run_id, job=self.job.name, difference=differs))
        work = ChunkWork(
            job=self.job,
            run_id=self.run_id,
            model_version=version.version,
            source=source,
            layout=layout,
            features=manifest.signature.names,
        )
        bulk = bulk_for(self.database, self.job.run.bulk)
        for chunk in plan.chunks:
            heartbeat.check()
            if self.stop.is_set():
                raise RunStopped("the run was asked to stop and did so between two chunks; the rest is due")
            for committed in process_chunk(work, chunk, database=self.database, bulk=bulk, scorer=scorer):
                self.emit(
                    ChunkCommitted(
                        run_id=self.run_id,
                        job=self.job.name,
                        counts=committed.counts,
                        reasons=committed.reasons,
                    )
                )
