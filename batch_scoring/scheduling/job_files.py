"""Job files of the service: reloaded when they change; an invalid file leaves its last valid version in use."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from batch_scoring.domain.job import Job
from batch_scoring.domain.job_files import job_names, read_job
from batch_scoring.errors import ConfigurationError, Problem
from batch_scoring.printable import printable


@dataclass
class JobFiles:
    """The jobs of a folder, as of the last ``refresh``."""

    folder: Path
    jobs: dict[str, Job] = field(default_factory=dict)
    """The last valid version of each job, by name."""
    broken: dict[str, ConfigurationError] = field(default_factory=dict)
    """The files that are invalid now, by job name."""
    problem: str | None = None
    """Why the folder cannot be listed now; the jobs are those of the last time that it could."""
    _seen: dict[str, tuple[int, int]] = field(default_factory=dict)

    def refresh(self) -> bool:
        """Load new and changed files, drop removed ones; returns whether anything changed."""
        try:
            with os.scandir(self.folder):
                pass
        except OSError as exc:
            message = f"the folder {printable(str(self.folder))} cannot be listed ({exc.strerror})"
            is_new, self.problem = self.problem is None, f"{message}; the jobs that were in it are kept"
            return is_new
        is_back, self.problem = self.problem is not None, None
        now = {name: stamp for name in job_names(self.folder) if (stamp := self._stamp(name)) is not None}
        changed = [name for name, stamp in now.items() if self._seen.get(name) != stamp]
        gone = self._seen.keys() - now.keys()
        for name in gone:
            self.jobs.pop(name, None)
            self.broken.pop(name, None)
        for name in changed:
            try:
                self.jobs[name] = read_job(self.folder / f"{name}.toml")
                self.broken.pop(name, None)
            except ConfigurationError as exc:
                self.broken[name] = exc
            except Exception as exc:  # whatever a file holds, it must not stop the jobs of other files
                message = f"cannot be read ({type(exc).__name__})"
                where = printable(str(self.folder / f"{name}.toml"))
                self.broken[name] = ConfigurationError([Problem(where=where, key="", message=message)])
        self._seen = now
        return bool(changed or gone or is_back)

    def scheduled(self) -> Mapping[str, Job]:
        """The jobs that have a schedule, by name."""
        return {name: job for name, job in self.jobs.items() if job.schedule is not None}

    def _stamp(self, name: str) -> tuple[int, int] | None:
        try:
            found = (self.folder / f"{name}.toml").stat()
        except OSError:  # removed after the folder was listed
            return None
        return found.st_mtime_ns, found.st_size
