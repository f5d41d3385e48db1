"""Shell completion. It reads no database; an error results in no suggestions."""

from __future__ import annotations

import os
from pathlib import Path


def complete_job_name(incomplete: str) -> list[str]:
    """The names of job files that start with the typed text."""
    folder = Path(os.environ.get("BATCH_SCORING_JOBS_DIR") or "jobs")
    try:
        return sorted(file.stem for file in folder.glob("*.toml") if file.stem.startswith(incomplete))
    except OSError:
        return []
