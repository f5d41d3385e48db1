"""Scoring in the process of the run."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from batch_scoring.scoring import preparation
from batch_scoring.scoring.challengers import Challengers
from batch_scoring.scoring.chunk import ChunkStages, RowScorer
from batch_scoring.scoring.pipeline import Pipeline
from batch_scoring.scoring.plan import RunPlan
from batch_scoring.scoring.progress import Progress
from batch_scoring.store.engine.database import Database

if TYPE_CHECKING:
    from batch_scoring.model.scorer import Scorer


def score(plan: RunPlan, database: Database, progress: Progress, due_count: int) -> None:
    """Score the due rows, of which ``due_count`` were counted.

    Raises ModelRefused, EveryRowFailed, Fenced, DatabaseFault, and what ``progress.check`` raises.
    """

    @cache
    def load() -> Scorer:
        scorer, version_difference = preparation.load_scorer(plan.model)
        progress.model_loaded(version_difference)
        return scorer

    score_with(plan, database, progress, due_count, load)


def score_with(
    plan: RunPlan, database: Database, progress: Progress, due_count: int, load: Callable[[], RowScorer]
) -> None:
    """Score each query of a plan. ``load`` is called for the scorer when the first chunk is scored."""
    with Challengers(plan.challengers) as challengers:
        for query in plan.queries:
            stages = ChunkStages(plan, query, database, load, challengers)
            Pipeline(stages, progress.committed, progress.check).run(due_count=query.scan.due_at_most(due_count))
