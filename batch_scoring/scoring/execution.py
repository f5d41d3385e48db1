"""The part of a run that needs the model: in this process, in several, or in one that may die of a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

from batch_scoring.domain.keys import EVERYTHING, KeyRange
from batch_scoring.domain.manifest import Manifest
from batch_scoring.domain.model_version import ModelVersion
from batch_scoring.errors import EveryRowFailed, RunStopped
from batch_scoring.scoring import preparation
from batch_scoring.scoring.events import ChunkCommitted, ScoringIsolated, ThresholdOverruled, VersionMismatchAccepted
from batch_scoring.scoring.heartbeat import Heartbeat
from batch_scoring.scoring.transient import persistently
from batch_scoring.store.runs import records
from batch_scoring.store.runs.history import deaths_in_a_row
from batch_scoring.store.schema.layout import PredictionsLayout
from batch_scoring.store.source.table import Source

if TYPE_CHECKING:
    from batch_scoring.model.scorer import Scorer
    from batch_scoring.scoring.attempt import Attempt
    from batch_scoring.scoring.chunk import ChunkWork, CommittedChunk, RowScorer
    from batch_scoring.scoring.engines.isolated import IsolatedScorer

_ROWS_WORTH_A_WORKER = 5_000
"""With fewer rows than this for each, more processes cost more than they bring."""

DEATHS_BEFORE = 2
"""Runs that died one after the other before the next one scores in a process of its own."""

_STOPPED = "the run was asked to stop and did so between two chunks; the rest is due"


class Execution:
    """The part of an attempt that needs the model: in this process, or in several."""

    def __init__(
        self,
        attempt: Attempt,
        version: ModelVersion,
        manifest: Manifest,
        sources: Sequence[Source],
        layout: PredictionsLayout,
        heartbeat: Heartbeat,
    ) -> None:
        self.attempt = attempt
        self.manifest = manifest
        self.heartbeat = heartbeat
        self.artifact = preparation.artifact_of(attempt.artifacts_dir, version)
        self.version = version
        self.sources = sources
        self.layout = layout
        self.done_count = 0
        """Rows scored or quarantined so far."""
        self._reasons: Counter[str] = Counter()
        """Rows quarantined, by code, since the last that was scored."""

    def carry_out(self, due_count: int) -> None:
        """Score what is due, of which so many rows were counted; may be called again."""
        if not due_count:
            return
        from batch_scoring.scoring.chunk import ChunkWork

        works = [
            ChunkWork(
                job=self.attempt.job,
                run_id=self.attempt.run_id,
                model_version=self.version.version,
                source=source,
                layout=self.layout,
                features=self.manifest.signature.names,
                kept=preparation.kept_inputs(self.attempt.job, self.manifest),
            )
            for source in self.sources
        ]
        deaths = persistently(self._deaths)
        if deaths >= DEATHS_BEFORE:
            self._isolated(works, due_count, deaths)
            return
        ranges = self._ranges(due_count)
        if len(ranges) > 1:
            self._in_processes(works[0], ranges)
        else:
            self._here(works, due_count)
        self._blame_no_row_for_a_common_fault()

    def _deaths(self) -> int:
        return deaths_in_a_row(self.attempt.database, self.attempt.job.name, before=self.attempt.run_id)

    def _ranges(self, due_count: int) -> list[KeyRange]:
        attempt = self.attempt
        if attempt.workers == 1 or len(self.sources) > 1:
            return [EVERYTHING]
        fewest = min(_ROWS_WORTH_A_WORKER, attempt.job.run.chunk_rows or _ROWS_WORTH_A_WORKER)
        if due_count <= fewest:
            return [EVERYTHING]
        return persistently(lambda: self._cut(fewest))

    def _cut(self, fewest: int) -> list[KeyRange]:
        from batch_scoring.scoring.engines.processes import guided

        with self.attempt.database.read() as connection:
            total = self.sources[0].count(connection)
            return self.sources[0].cut(connection, guided(total, workers=self.attempt.workers, fewest=fewest))

    def _here(self, works: Sequence[ChunkWork], due_count: int) -> None:
        @cache
        def load() -> Scorer:
            scorer, differs = preparation.load_scorer(
                self.artifact,
                self.manifest,
                self.attempt.job,
                allow_version_mismatch=self.attempt.allow_version_mismatch,
            )
            self._record_environment(differs)
            return scorer

        self._score(works, load, due_count)

    def _score(self, works: Sequence[ChunkWork], load: Callable[[], RowScorer], due_count: int) -> None:
        from batch_scoring.scoring.chunk import ChunkStages
        from batch_scoring.scoring.pipeline import Pipeline

        for work in works:
            stages = ChunkStages(work, self.attempt.database, load)
            Pipeline(stages, self._report, self._check).run(due_count=work.source.due_at_most(due_count))

    def _isolated(self, works: Sequence[ChunkWork], due_count: int, deaths: int) -> None:
        from batch_scoring.scoring.engines.isolated import IsolatedScorer, Recipe

        attempt = self.attempt
        attempt.emit(ScoringIsolated(run_id=attempt.run_id, job=attempt.job.name, deaths=deaths))
        recipe = Recipe(
            artifact=self.artifact,
            manifest=self.manifest,
            job=attempt.job,
            allow_version_mismatch=attempt.allow_version_mismatch,
        )
        with IsolatedScorer(recipe) as isolated:

            @cache
            def load() -> IsolatedScorer:
                self._record_environment(isolated.load())
                return isolated

            self._score(works, load, due_count)

    def _in_processes(self, work: ChunkWork, ranges: list[KeyRange]) -> None:
        import joblib

        from batch_scoring.model.scorer import check_library_version
        from batch_scoring.scoring.engines.processes import Task, score_in_processes

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
        overruled = self.manifest.overruled_by(attempt.job)
        overrides = {"scikit_learn_version": differs, "threshold": overruled}
        environment = preparation.environment({name: text for name, text in overrides.items() if text})
        persistently(lambda: records.record_environment(attempt.database, attempt.run_id, environment))
        if differs:
            attempt.emit(VersionMismatchAccepted(run_id=attempt.run_id, job=attempt.job.name, difference=differs))
        if overruled:
            attempt.emit(ThresholdOverruled(run_id=attempt.run_id, job=attempt.job.name, difference=overruled))

    def _report(self, committed: CommittedChunk) -> None:
        self.done_count += committed.counts.scored + committed.counts.quarantined
        if committed.counts.scored:
            self._reasons.clear()
        else:
            self._reasons.update(committed.reasons)
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
        self._blame_no_row_for_a_common_fault()

    def _blame_no_row_for_a_common_fault(self) -> None:
        """What a chunk of many rows would say of the model or the source, chunks of few rows say together."""
        from batch_scoring.model.scorer import FEWEST_ROWS_THAT_ACCUSE

        if len(self._reasons) != 1 or self._reasons.total() < FEWEST_ROWS_THAT_ACCUSE:
            return
        code, count = self._reasons.most_common(1)[0]
        raise EveryRowFailed(
            f"{count} rows failed alike ({code}), chunk after chunk, and none was scored between them, so the fault is"
            " not the rows'; they are quarantined, the rest is due. Look at the source or the model, run"
            f" `batch-scoring quarantine retry {self.attempt.job.name}`, then run again"
        )
