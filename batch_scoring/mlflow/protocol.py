"""What a process of this package and the one that has imported MLflow's client tell each other: lines of JSON.

That process finds what a URI points to and lists its files; then it downloads those that it is asked for, one at a
time. Its answers never hold text of the server, which may quote rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Fault = Literal["extra", "unavailable", "denied", "missing"]
"""Why it failed: no client, no server or a fault of it, no access, no such model, version, alias or file."""

SHA256_TAG = "batch_scoring.sha256"
"""The tag of a version of a registered model that holds the SHA-256 of its model file."""

MANIFEST_FILE = "batch_scoring.manifest.json"
"""The manifest of this package in the folder of a logged model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What a URI points to."""

    uri: str
    """The URI of the version, without an alias."""
    mlflow_version: str | None
    mlflow_run_id: str | None
    mlflow_model_id: str | None
    sha256: str | None
    """The hash that a tag of the version holds."""
    files: dict[str, int]
    """Sizes in bytes by name; only files at the top of the model's folder."""
