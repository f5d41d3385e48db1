"""Where a run looks for what is due: in the whole source, or in what changed lately."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from batch_scoring.domain.job import Job
from batch_scoring.domain.runs import Mode, Run
from batch_scoring.store.engine.clock import earlier, now
from batch_scoring.store.engine.database import Database
from batch_scoring.store.runs import records


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """How a run searches."""

    mode: Mode | None
    """None where it is told what to score."""
    lookback_from: datetime | None
    """The start of the job's lookback window, None where it has none."""


def choose(database: Database, job: Job) -> Search:
    """A sweep, unless the job has a lookback window and the last sweep that succeeded is recent and asked the same.

    Another source, condition or predictions table makes other rows due, so the next run sweeps.
    """
    source = job.source
    if source.lookback is None or source.sweep is None:
        return Search(mode="sweep", lookback_from=None)
    with database.read() as connection:
        moment = now(connection)
    last = records.last_success(database, job.name, mode="sweep")
    is_recent = last is not None and moment - last.started_at < source.sweep and _asked(last) == _asks(job)
    return Search(mode="lookback" if is_recent else "sweep", lookback_from=earlier(moment, source.lookback))


def _asks(job: Job) -> tuple[object, ...]:
    return _question(job.model_dump(mode="json"))


def _asked(run: Run) -> tuple[object, ...]:
    return _question(run.job_config)


def _question(config: dict[str, dict[str, object]]) -> tuple[object, ...]:
    names = ("table", "key", "changed_at", "where")
    return (*(config["source"].get(name) for name in names), config["predictions"].get("table"))
