"""Model versions: the registry's record of an artifact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from batch_scoring.domain.manifest import Manifest
from batch_scoring.errors import UnusableModel


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """One registered artifact."""

    name: str
    version: int
    artifact_uri: str
    """The file, relative to the artifacts folder."""
    artifact_sha256: str
    stored_manifest: Mapping[str, Any]
    """The manifest as it is stored; another version of this package may have written it."""
    created_at: datetime
    created_by: str
    signatures: tuple[str, ...] = ()
    """Signatures of the manifest in base64, see ``model.signing``."""

    @cached_property
    def manifest(self) -> Manifest:
        """The manifest. Raises UnusableModel where this version of the package cannot read it."""
        try:
            return Manifest.model_validate(self.stored_manifest)
        except ValueError as exc:
            raise UnusableModel(
                f"the manifest of {self.name} version {self.version} cannot be read by this version of batch-scoring;"
                " upgrade batch-scoring, or register the model again"
            ) from exc

    def as_json(self) -> dict[str, Any]:
        """The record as JSON, as commands print it: without the golden rows, which are rows of the training data."""
        golden = self.stored_manifest.get("golden")
        count = len(golden["rows"]) if isinstance(golden, dict) and isinstance(golden.get("rows"), list) else 0
        return {
            "name": self.name,
            "version": self.version,
            "artifact_uri": self.artifact_uri,
            "artifact_sha256": self.artifact_sha256,
            "manifest": {**self.stored_manifest, "golden": {"count": count, "stored_in": "model_versions.manifest"}},
            "created_at": self.created_at,
            "created_by": self.created_by,
        }
