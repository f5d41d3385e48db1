"""Scoring rows again because somebody asked for it: what is asked, whether it can be, and what it would come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from batch_scoring.domain.job import Job
from batch_scoring.domain.keys import TextKey, key_text
from batch_scoring.domain.model_version import ModelVersion
from batch_scoring.errors import InputFault
from batch_scoring.scoring import preparation
from batch_scoring.store import registry
from batch_scoring.store.engine.database import Database
from batch_scoring.store.runs import records
from batch_scoring.store.runs.requests import get_request
from batch_scoring.store.schema import job_tables
from batch_scoring.store.schema.revision import check_schema
from batch_scoring.store.source.selection import Request, Selection
from batch_scoring.store.source.table import Source

_SHOWN_KEYS = 5
_MAX_VERSION = 2**31 - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Rescore:
    """What to score again, and with which version."""

    request: Request
    model_version: int
    begun_by: int | None = None
    """The interrupted run whose rest is to be done; None for a rescore of its own."""

    def selection_in(self, database: Database, source: Source, *, since_run: int) -> tuple[Selection, list[TextKey]]:
        """The selection with keys as the source has them, and the keys that it has not."""
        selection = replace(self.request.selection, since_run=since_run)
        if self.request.keys is None:
            return selection, []
        with database.read() as connection:
            keys, missing = source.find(connection, self.request.keys)
        return replace(selection, keys=tuple(keys)), missing


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A rescore that can be carried out."""

    rescore: Rescore
    version: ModelVersion
    source: Source
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
    begun_by = run.continues_run_id or run.run_id
    asked = get_request(database, begun_by)
    if asked is None:
        raise InputFault(f"run {run_id} ended before it knew what to score again; ask for the rescore anew")
    request, version = asked
    rescore = Rescore(request=request, model_version=version, begun_by=begun_by)
    found = _plan(database, job, rescore, registry.get_version(database, job.model.name, version), skip_unknown=True)
    return replace(found, reason=run.reason)


def _plan(database: Database, job: Job, rescore: Rescore, version: ModelVersion, *, skip_unknown: bool) -> Plan:
    with database.read() as connection:
        source = Source.inspect(database, connection, job)
    source.check_where(database)
    manifest = version.manifest
    manifest.positive_index(job)
    preparation.check_signature(manifest, source, version)
    layout = source.layout(job)
    with database.read() as connection:
        if not job_tables.check_tables(connection, job, layout):
            raise InputFault(f"job {job.name} has scored nothing yet; `batch-scoring run {job.name}` does it")
    since = rescore.begun_by if rescore.begun_by is not None else rescore.request.selection.since_run
    selection, missing = rescore.selection_in(database, source, since_run=since)
    replace(source, again=selection).check_selection(database)
    if missing and not skip_unknown:
        found = not_among(f"among the rows of {source.table} that the job covers", source.key, missing)
        raise InputFault(f"{found}; nothing was done. Fix them, or leave them out with --skip-unknown")
    with database.read() as connection:
        pieces = (replace(source, again=piece) for piece in selection.pieces(job.run.chunk_rows))
        row_count = sum(piece.count_due(connection, layout).total for piece in pieces)
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
        if int(wanted) > _MAX_VERSION:
            raise InputFault(f"--model-version {wanted}: expected a version that exists")
        return registry.get_version(database, name, int(wanted))
    return registry.resolve_alias(database, name, job.model.alias if wanted is None else wanted)
