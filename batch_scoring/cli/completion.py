"""What shells offer to complete. It reads no database, and an error offers nothing."""

from __future__ import annotations

import os
from pathlib import Path


def complete_job_name(incomplete: str) -> list[str]:
    """The jobs of the jobs folder whose names begin with what was typed."""
    folder = Path(os.environ.get("BATCH_SCORING_JOBS_DIR") or "jobs")
    try:
        return sorted(file.stem for file in folder.glob("*.toml") if file.stem.startswith(incomplete))
    except OSError:
        return []
