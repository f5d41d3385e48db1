"""Registering model versions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batch_scoring.domain.job import Job
from batch_scoring.domain.model_version import ModelVersion
from batch_scoring.domain.names import ALIAS, MODEL_NAME, check_name
from batch_scoring.errors import InputFault, PromotionRefused, UnusableModel
from batch_scoring.files.format import PLAIN, FileFormat
from batch_scoring.login import login
from batch_scoring.registry.promotion import Promoter
from batch_scoring.scoring.events import ModelPromoted, ModelRegistered, Observer, emit
from batch_scoring.settings import key_text
from batch_scoring.store import lifecycle, registry
from batch_scoring.store.engine.database import Database
from batch_scoring.store.schema.revision import check_schema

if TYPE_CHECKING:
    import pandas as pd

    from batch_scoring.domain.manifest import Golden, Manifest


@dataclass(frozen=True, kw_only=True, slots=True)
class Registered:
    """The result of a registration."""

    version: ModelVersion
    is_new: bool
    """Whether this call added the version; False if the same file with the same signature was registered already."""
    same_file: tuple[int, ...]
    """Other versions of the same file: trained again, or with another signature or other library versions."""


def register_file(
    database: Database,
    artifacts_dir: Path,
    file: Path,
    *,
    name: str,
    sample: Path,
    alias: str | None,
    jobs: Sequence[Job] = (),
    labels: str | None = None,
    is_held_out: bool = False,
    form: FileFormat = PLAIN,
    golden: Golden = "real",
    notify: Callable[[str], None] | None = None,
    observers: Sequence[Observer] = (),
) -> Registered:
    """Register a fitted joblib or skops pipeline; its signature is derived from a sample of its input.

    ``labels`` is the column of the sample with the outcomes, by which the importance of features is measured, and
    ``is_held_out`` says that the model was not fitted on the sample, so that its scores do not flatter it. The file is
    unpickled: register only files you trust. ``alias`` is pointed at the new version if its gates pass, those of the
    ``jobs`` that use it included; without it the first version becomes champion. ``notify`` is called with a message
    for each guess about the data. Raises InputFault, UnusableModel, PromotionRefused, SchemaOutOfDate, DatabaseFault.
    """
    from batch_scoring.files.content import read_content
    from batch_scoring.model.artifact import unpickle
    from batch_scoring.model.scorer import bound_parallelism

    check_name("--name", name, MODEL_NAME)
    if alias is not None:
        check_name("--alias", alias, ALIAS)
    check_schema(database)
    artifact_format = "skops" if file.suffix == ".skops" else "joblib"
    try:
        content = file.read_bytes()
    except OSError as exc:
        raise InputFault(f"{file} cannot be read: {exc.strerror}") from exc
    rows = read_content(sample)
    model = unpickle(content, artifact_format)
    bound_parallelism(model)
    describe = partial(
        _describe,
        model,
        content,
        artifact_format=artifact_format,
        golden=golden,
        labels=labels,
        is_held_out=is_held_out,
        first=registry.first_with_reference(database, name),
    )
    manifest = _described(describe, sample, rows, form, notify)
    registered = register_content(
        database, artifacts_dir, name, content, manifest, first_alias=alias or "champion", reuse=True
    )
    emit_registered(observers, registered, first_alias=alias or "champion")
    version = registered.version.version
    if alias is not None and registry.version_of_alias(database, name, alias) != version:
        promoter = Promoter(
            database=database, artifacts_dir=artifacts_dir, name=name, alias=alias, jobs=jobs, observers=observers
        )
        try:
            promoter.promote(version, reason="registered with --alias")
        except PromotionRefused as exc:
            raise PromotionRefused(
                f"version {version} of {name} is registered, but {exc}", reasons=exc.reasons
            ) from exc
    return registered


def emit_registered(observers: Sequence[Observer], registered: Registered, *, first_alias: str | None) -> None:
    """Emit the registration of a new version, and its promotion if it is the first."""
    version = registered.version
    if not registered.is_new:
        return
    emit(
        observers,
        ModelRegistered(
            name=version.name,
            version=version.version,
            artifact_sha256=version.artifact_sha256,
            registered_by=version.created_by,
        ),
    )
    if version.version == 1 and first_alias is not None:
        emit(
            observers,
            ModelPromoted(
                name=version.name,
                alias=first_alias,
                version=version.version,
                previous_version=None,
                promoted_by=version.created_by,
            ),
        )


def _described(
    describe: Callable[[pd.DataFrame], Manifest],
    sample: Path,
    rows: bytes,
    form: FileFormat,
    notify: Callable[[str], None] | None,
) -> Manifest:
    """The manifest. Dates of the sample are passed as text, or as timestamps to a model that refuses text."""
    from batch_scoring.files.frame import read_frame

    as_text = read_frame(sample, rows, form, notify=notify)
    try:
        return describe(as_text)
    except UnusableModel:
        as_timestamps = read_frame(sample, rows, form, parse_dates=True)
        if as_timestamps.dtypes.equals(as_text.dtypes):
            raise
        try:
            return describe(as_timestamps)
        except UnusableModel:
            pass
        raise


def _describe(
    model: Any,
    content: bytes,
    sample: pd.DataFrame,
    *,
    artifact_format: str,
    golden: Golden,
    labels: str | None,
    is_held_out: bool,
    first: ModelVersion | None,
) -> Manifest:
    from batch_scoring.model.describe import describe

    outcomes = None
    if labels is not None:
        if labels not in sample.columns:
            raise InputFault(
                f"--labels {labels}: the sample has no such column ({', '.join(map(str, sample.columns))})"
            )
        outcomes, sample = sample[labels], sample.drop(columns=[labels])
    return describe(
        model,
        content,
        sample,
        artifact_format=artifact_format,
        golden=golden,
        outcomes=outcomes,
        is_held_out=is_held_out,
        first=first,
    )


def register_content(
    database: Database,
    artifacts_dir: Path,
    name: str,
    content: bytes,
    manifest: Manifest,
    *,
    first_alias: str,
    reuse: bool = False,
) -> Registered:
    """Write the bytes of a model with its manifest, and add them to the registry, signed if a key is set.

    With ``reuse`` a version with the same file and signature is returned instead. Raises UnusableModel,
    ConfigurationError, DatabaseFault.
    """
    from batch_scoring.model.artifact import artifact_uri, save

    key = key_text("SIGNING_KEY")
    if key is not None:
        from batch_scoring.model.signing import check_key

        check_key(key)
    before = [
        version
        for version in registry.list_versions(database, name)
        if version.artifact_sha256 == manifest.artifact_sha256
    ]
    values: dict[str, Any] = manifest.model_dump(mode="json")
    known = [version for version in before if reuse and _is_same(version.stored_manifest, values)]
    try:  # also for a known version, whose file may be missing
        save(artifacts_dir, name, content, known[-1].manifest if known else manifest)
    except OSError as exc:
        raise UnusableModel(
            f"the artifact could not be written to {artifacts_dir} ({exc.strerror});"
            " check the folder, or set BATCH_SCORING_ARTIFACTS_DIR"
        ) from exc
    version = registry.register_version(
        database,
        name=name,
        artifact_uri=artifact_uri(name, manifest),
        artifact_sha256=manifest.artifact_sha256,
        manifest=values,
        created_by=login(),
        first_alias=first_alias,
        is_same=lambda stored: reuse and _is_same(stored, values),
    )
    if key is not None and not version.signatures:
        version = sign_version(database, version, key)
    return Registered(
        version=version,
        is_new=not known and version.stored_manifest["created_at"] == values["created_at"],
        same_file=tuple(other.version for other in before if other.version != version.version),
    )


def sign_version(database: Database, version: ModelVersion, key: str) -> ModelVersion:
    """Sign the manifest of a version with a private key in PEM. Raises ConfigurationError, DatabaseFault."""
    from batch_scoring.model.signing import sign

    key_id, signature = sign(version.name, version.stored_manifest, key)
    lifecycle.add_signature(
        database,
        name=version.name,
        version=version.version,
        key_id=key_id,
        signature=signature,
        signed_by=login(),
    )
    return registry.get_version(database, version.name, version.version)


_OF_ONE_REGISTRATION = (
    "created_at",
    "golden",
    "metrics",
    "training_data",
    "artifact_bytes",
    "reference",
    "since_first",
)


def _is_same(stored: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether two manifests of one file are equal, except for the fields that describe one registration."""
    return all(stored.get(name) == new.get(name) for name in {*stored, *new} - set(_OF_ONE_REGISTRATION))
