"""From the URI of a job's model in MLflow to a version in the registry of this package, with its verified file.

MLflow keeps no hash and lets a file be replaced. So the hash of the first download is kept here, in the database, and
whatever differs from it later is refused. Of a version that is known, a small file is downloaded again to compare it,
and of a large one the size is.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from batch_scoring.domain.job import Job
from batch_scoring.domain.manifest import Manifest, Signature
from batch_scoring.domain.model_version import ModelVersion
from batch_scoring.errors import (
    AccessDenied,
    ArtifactChanged,
    SignatureMismatch,
    TrackingServerUnavailable,
    UnusableModel,
    VersionMismatch,
)
from batch_scoring.login import login
from batch_scoring.mlflow.client import Client
from batch_scoring.mlflow.download import Download, find
from batch_scoring.mlflow.mlmodel import MLMODEL, LoggedModel, read, signature_of
from batch_scoring.mlflow.protocol import MANIFEST_FILE, Found
from batch_scoring.mlflow.server import Server, server_of
from batch_scoring.store import registry
from batch_scoring.store.bulk.choice import bulk_for
from batch_scoring.store.engine.database import Database
from batch_scoring.store.mlflow import (
    KnownVersion,
    TrustedBy,
    known_version,
    last_resolution,
    record_resolution,
    record_version,
)
from batch_scoring.store.source.sample import random_rows
from batch_scoring.store.source.table import SourceTable

if TYPE_CHECKING:
    import pandas as pd

_SAMPLED = 1_000
"""Rows of the source that are the sample of a model without a manifest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Resolved:
    """What the URI of a job points to."""

    version: ModelVersion
    known: KnownVersion
    is_new: bool
    """Whether the version was unknown here before."""
    unreached_for: timedelta | None = None
    """How long ago the server was last reached, where it was not reached now; else None."""

    @property
    def note(self) -> str | None:
        """What a user must know about it, in one sentence; None if nothing."""
        what = f"{self.known.uri} is version {self.version.version} of {self.version.name} here"
        if self.unreached_for is not None:
            age = timedelta(seconds=int(self.unreached_for.total_seconds()))
            return f"the tracking server was not reached, and {what}, as it was {age} ago"
        if self.is_new and self.known.trusted_by == "first use":
            return f"{what}, trusted on first use: from now on its file must have the SHA-256 that it has now"
        return None


def resolve(
    database: Database, job: Job, source: SourceTable, artifacts_dir: Path, *, allow_version_mismatch: bool = False
) -> Resolved:
    """Find out what the URI of a job points to, and make sure that its file is here.

    Raises TrackingServerUnavailable, TrackingServerRefused, NoSuchModel, ArtifactChanged, ArtifactMissing,
    UnusableModel, SignatureMismatch, VersionMismatch, ConfigurationError, ExtraMissing, DatabaseFault.
    """
    assert job.model.uri is not None
    server = server_of(job)
    try:
        artifacts_dir.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(prefix=".download-", dir=artifacts_dir) as temporary,
            Client(server, downloads=Path(temporary)) as client,
        ):
            found = find(client, job.model.uri)
            download = Download(client, found, Path(temporary))
            known = known_version(database, server.shown, found.uri)
            if known is not None:
                return Resolved(version=_known(database, artifacts_dir, known, download), known=known, is_new=False)
            first = _FirstUse(database, artifacts_dir, job, source, server, download)
            return first.register(allow_version_mismatch=allow_version_mismatch)
    except OSError as exc:
        raise UnusableModel(
            f"the model could not be written to {artifacts_dir} ({exc.strerror}); check the folder, or set"
            " BATCH_SCORING_ARTIFACTS_DIR"
        ) from exc
    except TrackingServerUnavailable as exc:
        if not job.model.cache:
            raise
        last = last_resolution(database, job.name, job.model.uri, tracking_uri=server.shown)
        if last is None:
            raise TrackingServerUnavailable(f"{exc} (no run of job {job.name} has used the model before)") from exc
        version = registry.get_version(database, last.known.name, last.known.version)
        return Resolved(version=version, known=last.known, is_new=False, unreached_for=last.age)


def look_up(database: Database, job: Job) -> tuple[Found, KnownVersion | None]:
    """What the URI of a job points to, and what is known of it here. Nothing is downloaded.

    Raises TrackingServerUnavailable, TrackingServerRefused, NoSuchModel, ConfigurationError, ExtraMissing,
    DatabaseFault.
    """
    assert job.model.uri is not None
    server = server_of(job)
    with Client(server) as client:
        found = find(client, job.model.uri)
    return found, known_version(database, server.shown, found.uri)


def record(database: Database, job: Job, run_id: int, resolved: Resolved) -> None:
    """Record with a run what the URI pointed to. Raises DatabaseFault."""
    assert job.model.uri is not None
    record_resolution(
        database,
        run_id,
        tracking_uri=resolved.known.tracking_uri,
        uri=job.model.uri,
        version_uri=resolved.known.uri,
        is_cached=resolved.unreached_for is not None,
    )


def _known(database: Database, artifacts_dir: Path, known: KnownVersion, download: Download) -> ModelVersion:
    """A version that is known here. Raises ArtifactChanged where its file in MLflow is another one."""
    from batch_scoring.model.artifact import HASHED_AT_MOST, save, sha256

    version = registry.get_version(database, known.name, known.version)
    found = download.found
    listed = found.files.get(known.file)
    if listed is not None and listed != known.file_bytes:
        raise _changed(found, f"{listed:,} bytes, {known.file_bytes:,} before")
    is_here = (artifacts_dir / version.artifact_uri).exists()
    if is_here and known.file_bytes > HASHED_AT_MOST:
        return version
    content = download.file(known.file)
    if sha256(content) != version.artifact_sha256:
        raise _changed(found, f"SHA-256 {sha256(content)[:12]}…, {version.artifact_sha256[:12]}… before")
    if not is_here:
        save(artifacts_dir, version.name, content, version.manifest)
    return version


def _changed(found: Found, difference: str) -> ArtifactChanged:
    return ArtifactChanged(
        f"the model file of {found.uri} was replaced in MLflow ({difference}) and was not loaded; find out by whom, and"
        " register another version for another model"
    )


@dataclass(frozen=True, slots=True)
class _FirstUse:
    """A version in MLflow that is not known here yet."""

    database: Database
    artifacts_dir: Path
    job: Job
    source: SourceTable
    server: Server
    download: Download

    @property
    def found(self) -> Found:
        return self.download.found

    def register(self, *, allow_version_mismatch: bool) -> Resolved:
        from batch_scoring.model.artifact import artifact_uri, save, sha256

        logged = read(self.download.file(MLMODEL), self.found.uri)
        given = self._given_manifest()
        content = self.download.file(logged.file)
        trusted_by: TrustedBy = "first use"
        if self.found.sha256 is not None:
            if sha256(content) != self.found.sha256:
                raise _changed(self.found, f"SHA-256 {sha256(content)[:12]}…, its tag {self.found.sha256[:12]}…")
            trusted_by = "tag"
        if given is not None and given.artifact_sha256 != sha256(content):
            raise _changed(self.found, "its manifest names another SHA-256")
        manifest = given or self._derived_manifest(logged, content, allow_mismatch=allow_version_mismatch)
        name = self.job.model.name
        save(self.artifacts_dir, name, content, manifest)
        values = manifest.model_dump(mode="json")
        try:
            version = registry.register_version(
                self.database,
                name=name,
                artifact_uri=artifact_uri(name, manifest),
                artifact_sha256=manifest.artifact_sha256,
                manifest=values,
                created_by=login(),
                first_alias=None,
                is_same=lambda stored: given is not None and dict(stored) == values,
            )
            known = record_version(
                self.database,
                KnownVersion(
                    tracking_uri=self.server.shown,
                    uri=self.found.uri,
                    name=name,
                    version=version.version,
                    mlflow_run_id=self.found.mlflow_run_id,
                    mlflow_model_id=self.found.mlflow_model_id,
                    file=logged.file,
                    file_bytes=len(content),
                    trusted_by=trusted_by,
                ),
            )
        except AccessDenied as exc:
            raise AccessDenied(
                f"{self.found.uri} is not known here, and this login may not register it ({exc}); apply"
                " `batch-scoring db roles` again, which lets scorer do so for jobs with [model] uri"
            ) from exc
        return Resolved(
            version=registry.get_version(self.database, known.name, known.version), known=known, is_new=True
        )

    def _given_manifest(self) -> Manifest | None:
        """The manifest that ``train`` put beside the model; None where there is none."""
        if MANIFEST_FILE not in self.found.files:
            return None
        try:
            return Manifest.model_validate_json(self.download.file(MANIFEST_FILE))
        except ValueError as exc:
            raise UnusableModel(
                f"the file {MANIFEST_FILE} of {self.found.uri} cannot be read by this version of batch-scoring; log the"
                " model again, or install the version that wrote it"
            ) from exc

    def _derived_manifest(self, logged: LoggedModel, content: bytes, *, allow_mismatch: bool) -> Manifest:
        """The manifest of a model that was logged by MLflow alone, with rows of the source as its sample."""
        from sklearn import __version__ as installed

        from batch_scoring.model.artifact import unpickle
        from batch_scoring.model.describe import describe
        from batch_scoring.model.scorer import bound_parallelism
        from batch_scoring.model.translation.program import why_only_in_python

        declared = signature_of(logged, self.found.uri)
        if installed != logged.scikit_learn_version and not allow_mismatch:
            raise VersionMismatch(
                f"{self.found.uri} was logged with scikit-learn {logged.scikit_learn_version}, installed is"
                f" {installed}; install that version, log the model again, or accept the difference with"
                " --allow-version-mismatch",
                fitted=logged.scikit_learn_version,
                installed=installed,
            )
        rows = self._sample(declared)
        model = unpickle(content, logged.format)
        bound_parallelism(model)
        derived = describe(model, content, rows, artifact_format=logged.format)
        manifest = derived.model_copy(
            update={
                "signature": _with_declared(derived.signature, declared),
                "scikit_learn_version": logged.scikit_learn_version,
                "notes": (
                    *derived.notes,
                    f"registered from {self.found.uri}, with rows of {self.job.source.table} as its sample",
                ),
            }
        )
        return manifest.model_copy(update={"only_in_python": why_only_in_python(model, manifest)})

    def _sample(self, declared: Signature) -> pd.DataFrame:
        """Rows of the source, as the types of the signature. Raises SignatureMismatch, DatabaseFault."""
        from batch_scoring.model.signature import check_rows

        columns = self.source.columns
        if found := declared.mismatches({name: column.family for name, column in columns.items()}):
            raise SignatureMismatch(
                f"{self.source.table} does not match the signature of {self.found.uri}: {'; '.join(found)}."
                " Fix the source (a view may rename and cast), or log a model trained on these columns"
            )
        with self.database.read() as connection:
            rows = random_rows(
                connection, bulk_for(self.database, self.job.run.bulk), self.source, declared.names, _SAMPLED
            )
        frame = check_rows(declared, rows.features).frame
        if frame.empty:
            raise UnusableModel(
                f"{self.found.uri} has no manifest of this package, and {self.source.table} no row that fits its"
                " signature, from which one could be derived; run again when there are rows, or log the model by"
                " `batch-scoring train --mlflow`"
            )
        return frame


def _with_declared(derived: Signature, declared: Signature) -> Signature:
    """The derived signature, with what only MLflow knows: which columns are required.

    Which texts the model was fitted on is known to neither, so no text is unseen, unless the model takes categoricals
    only.
    """
    required = {column.name: not column.nullable for column in declared.columns}
    takes_objects = derived.unseen_as == "text"
    columns = [
        column.model_copy(
            update={
                "nullable": not required[column.name],
                "categories": None if takes_objects else column.categories,
            }
        )
        for column in derived.columns
    ]
    return derived.model_copy(
        update={"columns": tuple(columns), "text_as": "object" if takes_objects else derived.text_as}
    )
