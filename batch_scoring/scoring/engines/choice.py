"""Choosing the engine of a run: the database, this process, worker processes, or an isolated process after crashes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch_scoring.domain.keys import EVERYTHING, KeyRange
from batch_scoring.domain.runs import Engine, ScoredBy
from batch_scoring.errors import EngineDiffers, EngineUnavailable
from batch_scoring.scoring.events import EngineDistrusted, ScoringIsolated
from batch_scoring.scoring.plan import RunPlan
from batch_scoring.scoring.progress import Progress
from batch_scoring.scoring.transient import retry_transient
from batch_scoring.store.engine.database import Database
from batch_scoring.store.runs.history import crashes_in_a_row

if TYPE_CHECKING:
    from batch_scoring.model.scorer import Scorer
    from batch_scoring.scoring.engines.database import DatabaseEngine

_ROWS_WORTH_A_WORKER = 5_000
"""With fewer rows per worker, the start of a process takes longer than it saves."""

CRASHES_BEFORE_ISOLATION = 2
"""The number of consecutive crashed runs after which the next one scores in an isolated child process."""


def score(plan: RunPlan, database: Database, progress: Progress, due_count: int) -> None:
    """Score the due rows, of which ``due_count`` were counted. May be called repeatedly.

    Raises ModelRefused, EveryRowFailed, WorkerCrashed, Fenced, RunStopped, DatabaseFault.
    """
    if not due_count:
        return
    crashes = retry_transient(lambda: crashes_in_a_row(database, plan.job.name, before=plan.run_id))
    if crashes >= CRASHES_BEFORE_ISOLATION:
        from batch_scoring.scoring.engines import isolated

        progress.emit(ScoringIsolated(run_id=plan.run_id, job=plan.job.name, crashes=crashes))
        progress.engine_chosen(ScoredBy(engine="python", reason=f"the last {crashes} runs crashed"))
        isolated.score(plan, database, progress, due_count)
        return
    engine = _score_in_database(plan, database, progress, due_count) if plan.job.run.engine != "python" else None
    left = due_count - (engine.scored_count if engine is not None else 0)
    if left > 0:
        _score_in_python(plan, database, progress, left, engine.scorer if engine is not None else None)
    progress.check_common_fault()


def _score_in_database(plan: RunPlan, database: Database, progress: Progress, due_count: int) -> DatabaseEngine | None:
    """Score the rows that the database can score; None if it cannot compute the model.

    Raises EngineUnavailable, EngineDiffers where the job demands the database; ModelRefused, Fenced, RunStopped,
    DatabaseFault.
    """
    from batch_scoring.scoring.engines.database import DatabaseEngine, NotInDatabase

    is_demanded = plan.job.run.engine == "database"
    engine: DatabaseEngine | None = None
    try:
        engine = DatabaseEngine.of(plan, database, progress)
        engine.score(due_count)
    except NotInDatabase as exc:
        if is_demanded:
            raise EngineUnavailable(f'{exc}; set [run] engine = "auto", and such jobs are scored in Python') from None
        progress.engine_chosen(ScoredBy(engine="python", reason=str(exc)))
        return None
    except EngineDiffers as exc:
        scored_count = 0 if engine is None else engine.scored_count
        name: Engine = "database" if scored_count else "python"
        progress.compared(ScoredBy(engine=name, reason=str(exc), largest_difference=exc.difference))
        if is_demanded:
            raise
        progress.emit(
            EngineDistrusted(run_id=plan.run_id, job=plan.job.name, message=str(exc), scored_count=scored_count)
        )
        return engine
    progress.compared(ScoredBy(engine="database", largest_difference=engine.largest_difference))
    return engine


def _score_in_python(
    plan: RunPlan, database: Database, progress: Progress, due_count: int, scorer: Scorer | None
) -> None:
    """Score the due rows in this process or in worker processes; ``scorer`` is the model if it has been loaded."""
    ranges = _partitions(plan, database, due_count)
    if len(ranges) > 1:
        from batch_scoring.scoring.engines import processes

        processes.score(plan, database, progress, ranges)
    else:
        from batch_scoring.scoring.engines import python

        if scorer is None:
            python.score(plan, database, progress, due_count)
        else:
            python.score_with(plan, database, progress, due_count, lambda: scorer)


def _partitions(plan: RunPlan, database: Database, due_count: int) -> list[KeyRange]:
    if plan.workers == 1 or len(plan.queries) > 1:
        return [EVERYTHING]
    fewest = min(_ROWS_WORTH_A_WORKER, plan.job.run.chunk_rows or _ROWS_WORTH_A_WORKER)
    if due_count <= fewest:
        return [EVERYTHING]

    def partition() -> list[KeyRange]:
        from batch_scoring.scoring.engines.processes import guided

        with database.read() as connection:
            total = plan.queries[0].count_rows(connection)
            return plan.queries[0].partition(connection, guided(total, workers=plan.workers, fewest=fewest))

    return retry_transient(partition)
