"""The interface for Python programs: what the commands do, as functions.

The names in ``__all__``, their parameters and the fields of what they return are kept within a major version; a test
compares them with ``docs/api.md``. Everything else of the package may change.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from batch_scoring.domain.job import Job
from batch_scoring.domain.job_files import load_job, load_jobs
from batch_scoring.domain.keys import TextKey
from batch_scoring.domain.model_version import ModelVersion
from batch_scoring.domain.runs import Run
from batch_scoring.errors import BatchScoringError, InputFault
from batch_scoring.monitoring.evaluation import Evaluation, evaluate
from batch_scoring.operations import rescore as rescoring
from batch_scoring.operations.why import Answer, why
from batch_scoring.scoring.events import Event, Observer
from batch_scoring.scoring.runner import RunOptions, run_job
from batch_scoring.store.engine.database import Database
from batch_scoring.store.schema.upgrade import upgrade
from batch_scoring.store.source.condition_parser import parse
from batch_scoring.store.source.selection import Request, Selection

__all__ = [
    "Answer",
    "BatchScoringError",
    "Database",
    "Evaluation",
    "Event",
    "Job",
    "ModelVersion",
    "Observer",
    "Run",
    "RunOptions",
    "evaluate_drift",
    "explain",
    "load_job",
    "load_jobs",
    "register_model",
    "rescore",
    "run_job",
    "upgrade",
]


def register_model(
    database: Database,
    artifacts_dir: Path,
    file: Path,
    *,
    name: str,
    sample: Path,
    alias: str | None = None,
    labels: str | None = None,
    is_held_out: bool = False,
    jobs: Sequence[Job] = (),
    observers: Sequence[Observer] = (),
) -> ModelVersion:
    """Register a fitted model from a joblib or ``.skops`` file, with a CSV or Parquet sample of its input.

    A joblib file is unpickled: register only files you trust. The first version becomes champion; ``alias`` is pointed
    at the version if its gates pass, those of the ``jobs`` that use the alias included. ``labels`` is the column of the
    sample with the outcomes, by which the importance of features is measured; ``is_held_out`` says that the model was
    not fitted on these rows. Raises InputFault, UnusableModel, PromotionRefused, SchemaOutOfDate, DatabaseFault.
    """
    from batch_scoring.registry.registration import register_file

    return register_file(
        database,
        artifacts_dir,
        file,
        name=name,
        sample=sample,
        alias=alias,
        labels=labels,
        is_held_out=is_held_out,
        jobs=jobs,
        observers=observers,
    ).version


def rescore(
    database: Database,
    job: Job,
    artifacts_dir: Path,
    *,
    reason: str,
    keys: Iterable[TextKey] | None = None,
    where: Sequence[str] = (),
    scored_by_version: int | None = None,
    scored_before: datetime | None = None,
    scored_after: datetime | None = None,
    everything: bool = False,
    version: str | None = None,
    requested_by: str | None = None,
    observers: Sequence[Observer] = (),
) -> Run:
    """Score rows again: new predictions supersede the current ones, which are kept as history.

    Exactly one selection is required: ``keys``, each a tuple of the values of the key columns as text; ``where``,
    conditions such as ``"LoanAmount > 300"``; ``scored_by_version``; ``scored_before`` or ``scored_after``, aware
    times; or ``everything``. ``version`` is a number or an alias; None is the alias of the job. Raises InputFault,
    AnotherRunActive and as ``run_job``.
    """
    given = (keys is not None, bool(where), scored_by_version is not None, bool(scored_before or scored_after))
    if sum((*given, everything)) != 1:
        raise InputFault("expected one selection: keys, where, scored_by_version, scored_before or _after, everything")
    if not reason.strip():
        raise InputFault("reason is empty; it is recorded with the run")
    request = Request(
        keys=None if keys is None else tuple(dict.fromkeys(keys)),
        selection=Selection(
            scored_by_version=scored_by_version,
            scored_before=scored_before,
            scored_after=scored_after,
            where=tuple(parse(text) for text in where),
        ),
    )
    planned = rescoring.plan(database, job, request, version=version)
    options = planned.run_options(reason=reason, requested_by=requested_by, workers=None, allow_version_mismatch=False)
    return run_job(database, job, artifacts_dir, options=options, observers=observers)


def explain(database: Database, job: Job, key: TextKey) -> Answer:
    """The state of a row and all that was predicted for it; ``key`` are the values of the key columns as text.

    Raises InputFault, SourceFault, SchemaOutOfDate, DatabaseFault.
    """
    return why(database, job, key)


def evaluate_drift(database: Database, job: Job, run: Run) -> Evaluation:
    """Compare what an ordinary run that succeeded read with the reference, record it, and raise or clear alerts.

    The commands do so after each run. A run is evaluated once. Raises ModelRefused, DatabaseFault.
    """
    return evaluate(database, job, run)
