"""Windows: consecutive ordinary runs of one model version whose rows are compared with its reference together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from batch_scoring.domain.job import Job, Monitoring
from batch_scoring.domain.profile import Profile, total
from batch_scoring.store.engine.database import Database
from batch_scoring.store.runs.profiles import ProfiledRun, profiled_runs


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """The runs of a window, and what they counted together."""

    model_name: str
    model_version: int
    first_run: int
    last_run: int
    run_count: int
    started_at: datetime
    """The start of its first run."""
    ended_at: datetime
    """The start of its last run."""
    read_count: int
    """Rows that were scored or quarantined."""
    profile: Profile | None
    """None where none of them was counted: the model has no reference, or the database scored them."""
    is_complete: bool
    """Whether later runs belong to another window."""

    @property
    def uncounted(self) -> int:
        """Rows that are in no profile."""
        return self.read_count - (0 if self.profile is None else self.profile.rows)


def windows(database: Database, job: Job) -> list[Window]:
    """All windows of a job, the oldest first, by the settings of its ``[monitoring]``. Raises DatabaseFault."""
    return list(_windows(profiled_runs(database, job.name), job.monitoring))


def _windows(runs: Iterable[ProfiledRun], settings: Monitoring) -> Iterator[Window]:
    gathered: list[ProfiledRun] = []
    for run in runs:
        if gathered and (_is_full(gathered, settings) or not _continues(gathered[0], run, settings)):
            yield _window(gathered, is_complete=True)
            gathered = []
        gathered.append(run)
    if gathered:
        yield _window(gathered, is_complete=_is_full(gathered, settings))


def _is_full(runs: Sequence[ProfiledRun], settings: Monitoring) -> bool:
    return sum(run.read_count for run in runs) >= settings.window_rows


def _continues(first: ProfiledRun, run: ProfiledRun, settings: Monitoring) -> bool:
    is_same = (first.model_name, first.model_version) == (run.model_name, run.model_version)
    return is_same and run.started_at - first.started_at <= settings.window


def _window(runs: Sequence[ProfiledRun], *, is_complete: bool) -> Window:
    first, last = runs[0], runs[-1]
    return Window(
        model_name=first.model_name,
        model_version=first.model_version,
        first_run=first.run_id,
        last_run=last.run_id,
        run_count=len(runs),
        started_at=first.started_at,
        ended_at=last.started_at,
        read_count=sum(run.read_count for run in runs),
        profile=total(run.profile for run in runs if run.profile is not None),
        is_complete=is_complete,
    )
