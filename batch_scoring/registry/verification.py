"""Verifying an artifact with the checks of a run: hash, library version, golden rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from batch_scoring.domain.model_version import ModelVersion
from batch_scoring.scoring.preparation import artifact_of, load_model
from batch_scoring.store import registry
from batch_scoring.store.engine.database import Database
from batch_scoring.store.schema.revision import check_schema


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """The result of a successful verification."""

    version: ModelVersion
    golden_rows: int
    version_difference: str | None
    """The scikit-learn version mismatch, if one was allowed; else None."""


def verify(
    database: Database,
    artifacts_dir: Path,
    name: str,
    version: int | None,
    *,
    allow_version_mismatch: bool = False,
) -> Verification:
    """Verify a version's artifact with the checks of a run: hash, library version, golden rows.

    Without ``version`` the champion is verified. Raises SchemaOutOfDate, ModelRefused, DatabaseFault.
    """
    check_schema(database)
    found = (
        registry.resolve_alias(database, name, "champion")
        if version is None
        else registry.get_version(database, name, version)
    )
    manifest = found.manifest
    _, differs = load_model(artifact_of(artifacts_dir, found), manifest, allow_version_mismatch=allow_version_mismatch)
    return Verification(version=found, golden_rows=len(manifest.golden.rows), version_difference=differs)
