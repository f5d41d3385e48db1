"""Windows: consecutive ordinary runs of one model version whose rows are compared with its reference together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from batch_scoring.domain.job import Job
from batch_scoring.domain.limits import Monitoring
from batch_scoring.domain.profile import Profile, total
from batch_scoring.store.drift.reports import before_window
from batch_scoring.store.engine.clock import now
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
    """Rows that were scored or quarantined; one that changed is counted for each time."""
    profile: Profile | None
    """Counts of these rows, each once; None where none was counted, as the model has no reference."""
    uncounted: int
    """Those of them that are in no profile."""
    is_complete: bool
    """Whether later runs belong to another window."""

    @property
    def again_count(self) -> int:
        """Rows of a single run that an earlier run of its window had counted."""
        return 0 if self.profile is None or self.profile.again is None else self.profile.again.rows


def windows(database: Database, job: Job, *, after: int = 0, until: int | None = None) -> list[Window]:
    """The windows of a job by its ``[monitoring]``, the oldest first, of the runs ``after`` a run and ``until`` one.

    Raises DatabaseFault.
    """
    return list(_windows(profiled_runs(database, job.name, after=after, until=until), job.monitoring))


Period = tuple[datetime, datetime]
"""The start and the end of a run."""


def periods_of_window(
    database: Database, job: Job, *, run_id: int, model_name: str, model_version: int
) -> tuple[Period, ...]:
    """The periods of the runs whose window a run of a model version continues; empty if it begins one.

    No two runs of a job overlap, so a row was written by one of these runs if its validity begins in such a period.
    Raises DatabaseFault.
    """
    runs = profiled_runs(database, job.name, after=before_window(database, job.name), until=run_id - 1)
    gathered = next(reversed(list(_gathered(runs, job.monitoring))), [])
    if not gathered or _is_full(gathered, job.monitoring):
        return ()
    with database.read() as connection:
        time = now(connection)
    first = gathered[0]
    is_same = (first.model_name, first.model_version) == (model_name, model_version)
    if not is_same or time - first.started_at > job.monitoring.window:
        return ()
    return tuple((run.started_at, run.finished_at or time) for run in gathered)


def _windows(runs: Iterable[ProfiledRun], settings: Monitoring) -> Iterator[Window]:
    before: Sequence[ProfiledRun] = ()
    for gathered in _gathered(runs, settings):
        if before:
            yield _window(before, is_complete=True)
        before = gathered
    if before:
        yield _window(before, is_complete=_is_full(before, settings))


def _gathered(runs: Iterable[ProfiledRun], settings: Monitoring) -> Iterator[list[ProfiledRun]]:
    """The runs of each window."""
    gathered: list[ProfiledRun] = []
    for run in runs:
        if gathered and (_is_full(gathered, settings) or not _continues(gathered[0], run, settings)):
            yield gathered
            gathered = []
        gathered.append(run)
    if gathered:
        yield gathered


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
        profile=_together(runs),
        uncounted=sum(run.read_count - (0 if run.profile is None else run.profile.rows) for run in runs),
        is_complete=is_complete,
    )


def _together(runs: Sequence[ProfiledRun]) -> Profile | None:
    """What runs counted, each row once; those of a single run are different rows."""
    found = [run.profile for run in runs if run.profile is not None]
    return found[0] if len(found) == 1 else total(profile.once for profile in found)
