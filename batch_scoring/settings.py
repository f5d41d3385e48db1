"""What the environment says: where the database, the jobs and the artifacts are, and how to log."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast, get_args

from batch_scoring.errors import ConfigurationError, Problem

LogFormat = Literal["console", "json"]

DEFAULT_DATABASE_URL = "sqlite:///batch_scoring.db"


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The environment of one process, read once at its start."""

    database_url: str = field(default=DEFAULT_DATABASE_URL, repr=False)
    jobs_dir: Path = Path("jobs")
    artifacts_dir: Path = Path("artifacts")
    log_format: LogFormat | None = None
    """``None``: console on a terminal, JSON elsewhere."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """Read the ``BATCH_SCORING_*`` variables.

        Raises ConfigurationError naming every variable that cannot be used, unknown ones included.
        """
        known = {
            "BATCH_SCORING_DATABASE_URL",
            "BATCH_SCORING_JOBS_DIR",
            "BATCH_SCORING_ARTIFACTS_DIR",
            "BATCH_SCORING_LOG_FORMAT",
        }
        problems = [
            Problem(where=name, key="", message=f"is not a setting; expected one of {', '.join(sorted(known))}")
            for name in sorted(environ)
            if name.startswith("BATCH_SCORING_") and name not in known
        ]
        url = environ.get("BATCH_SCORING_DATABASE_URL", "") or DEFAULT_DATABASE_URL
        if "://" not in url:
            problems.append(
                Problem(
                    where="BATCH_SCORING_DATABASE_URL",
                    key="",
                    message="expected a SQLAlchemy URL such as postgresql://user@host/database or sqlite:///file.db",
                )
            )
        log_format = environ.get("BATCH_SCORING_LOG_FORMAT", "") or None
        if log_format is not None and log_format not in get_args(LogFormat):
            problems.append(
                Problem(
                    where="BATCH_SCORING_LOG_FORMAT",
                    key="",
                    message=f"expected {' or '.join(get_args(LogFormat))}, found {log_format!r}",
                )
            )
        if problems:
            raise ConfigurationError(problems)
        return cls(
            database_url=url,
            jobs_dir=Path(environ.get("BATCH_SCORING_JOBS_DIR", "") or "jobs"),
            artifacts_dir=Path(environ.get("BATCH_SCORING_ARTIFACTS_DIR", "") or "artifacts"),
            log_format=cast("LogFormat | None", log_format),
        )
