"""Scoring rows again because somebody asked for it: what is asked, whether it can be, and what it would come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from batch_scoring.domain.job import Job
from batch_scoring.domain.keys import TextKey, key_text
from batch_scoring.domain.model_version import ModelVersion
from batch_scoring.domain.names import MAX_MODEL_VERSION
from batch_scoring.errors import InputFault
from batch_scoring.scoring import preparation
from batch_scoring.scoring.plan import Rescore
from batch_scoring.store import registry
from batch_scoring.store.due.query import DueQuery
from batch_scoring.store.due.scan import RescoreScan
from batch_scoring.store.engine.database import Database
from batch_scoring.store.runs import records
from batch_scoring.store.runs.requests import get_request
from batch_scoring.store.schema import job_tables
from batch_scoring.store.schema.layout import layout_of
from batch_scoring.store.schema.revision import check_schema
from batch_scoring.store.source.selection import Request, Selection
from batch_scoring.store.source.table import SourceTable

_SHOWN_KEYS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A rescore that can be carried out."""

    rescore: Rescore
    version: ModelVersion
    source: SourceTable
    selection: Selection
    """With the keys as the source has them."""
    row_count: int
    """Rows that it would score now."""
    unknown: tuple[TextKey, ...] = ()
    """Keys that were asked for and are not in the source, where that is allowed."""
    reason: str | None = None
    """Of the rescore that is continued."""


def plan(
    database: Database, job: Job, request: Request, *, version: str | None = None, skip_unknown: bool = False
) -> Plan:
    """Check a rescore before anything is written.

    ``version`` is a number or an alias; without it the job's alias counts. ``skip_unknown`` leaves keys out that the
    source does not have. Raises InputFault naming such keys otherwise, SourceFault, ModelRefused, SchemaOutOfDate.
    """
    check_schema(database)
    found = _version(database, job, version)
    if request.selection.scored_by_version is not None:
        registry.get_version(database, job.model.name, request.selection.scored_by_version)
    rescore = Rescore(request=request, model_version=found.version)
    return _plan(database, job, rescore, found, skip_unknown=skip_unknown)


def continuation(database: Database, job: Job, run_id: int) -> Plan:
    """The rest of an interrupted rescore: the same rows, the same version. Raises InputFault, and as ``plan``."""
    check_schema(database)
    run = records.get_run(database, run_id)
    if run is None or run.job != job.name or run.trigger != "rescore":
        raise InputFault(f"run {run_id} is no rescore of job {job.name}; see `batch-scoring runs --job {job.name}`")
    continued_run_id = run.continues_run_id or run.run_id
    asked = get_request(database, continued_run_id)
    if asked is None:
        raise InputFault(f"run {run_id} ended before it knew what to score again; ask for the rescore again")
    request, version = asked
    rescore = Rescore(request=request, model_version=version, continued_run_id=continued_run_id)
    found = _plan(database, job, rescore, registry.get_version(database, job.model.name, version), skip_unknown=True)
    return replace(found, reason=run.reason)


def _plan(database: Database, job: Job, rescore: Rescore, version: ModelVersion, *, skip_unknown: bool) -> Plan:
    with database.read() as connection:
        source = SourceTable.inspect(database, connection, job)
    source.check_where(database)
    preparation.check_model(job, source, version)
    layout = layout_of(job, source)
    with database.read() as connection:
        if not job_tables.check_tables(connection, job, layout):
            raise InputFault(f"job {job.name} has scored nothing yet; `batch-scoring run {job.name}` does it")
    since = rescore.continued_run_id if rescore.continued_run_id is not None else rescore.request.selection.since_run
    selection, missing = rescore.selection_in(database, source, since_run=since)
    scan = RescoreScan(selection=selection)
    if selection.where:
        DueQuery(source=source, layout=layout, scan=scan).check_conditions(database)
    if missing and not skip_unknown:
        found = not_among(f"among the rows of {source.table} that the job covers", source.key, missing)
        raise InputFault(f"{found}; nothing was done. Fix them, or leave them out with --skip-unknown")
    with database.read() as connection:
        queries = (DueQuery(source=source, layout=layout, scan=batch) for batch in scan.batches(job.run.chunk_rows))
        row_count = sum(query.count(connection).total for query in queries)
    return Plan(
        rescore=rescore,
        version=version,
        source=source,
        selection=selection,
        row_count=row_count,
        unknown=tuple(missing),
    )


def not_among(where: str, names: Sequence[str], keys: Sequence[TextKey]) -> str:
    """Which keys are not where they were looked for: how many, of which columns, and the first few."""
    count = "1 key is" if len(keys) == 1 else f"{len(keys):,} keys are"
    shown = ", ".join(key_text(names, key) for key in keys[:_SHOWN_KEYS])
    more = f" and {len(keys) - _SHOWN_KEYS:,} more" if len(keys) > _SHOWN_KEYS else ""
    return f"{count} not {where} (key {', '.join(names)}): {shown}{more}"


def _version(database: Database, job: Job, wanted: str | None) -> ModelVersion:
    name = job.model.name
    if wanted is not None and wanted.isascii() and wanted.isdigit():
        if int(wanted) > MAX_MODEL_VERSION:
            raise InputFault(f"--model-version {wanted}: expected a version that exists")
        return registry.get_version(database, name, int(wanted))
    return registry.resolve_alias(database, name, job.model.alias if wanted is None else wanted)
