"""The job files as the service sees them: read again when they change, the last good version of each kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from batch_scoring.domain.job import Job
from batch_scoring.domain.job_files import job_names, read_job
from batch_scoring.errors import ConfigurationError


@dataclass
class JobFiles:
    """The jobs of a folder. ``refresh`` says whether anything changed."""

    folder: Path
    jobs: dict[str, Job] = field(default_factory=dict)
    """By name, each in its last good version."""
    broken: dict[str, ConfigurationError] = field(default_factory=dict)
    """The files that cannot be used as they are now."""
    _seen: dict[str, tuple[int, int]] = field(default_factory=dict)

    def refresh(self) -> bool:
        """Look at the folder; read what is new or was changed, forget what is gone."""
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
        self._seen = now
        return bool(changed or gone)

    def scheduled(self) -> Mapping[str, Job]:
        """Those that have a schedule."""
        return {name: job for name, job in self.jobs.items() if job.schedule is not None}

    def _stamp(self, name: str) -> tuple[int, int] | None:
        try:
            found = (self.folder / f"{name}.toml").stat()
        except OSError:  # gone between the listing and the look
            return None
        return found.st_mtime_ns, found.st_size
