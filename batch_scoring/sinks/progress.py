"""The progress bar of a run on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from batch_scoring.scoring.events import (
    ChallengerFailed,
    ChunkCommitted,
    Event,
    GateNotChecked,
    HeldRowsReleased,
    Observer,
    RunPlanned,
    RunTookOver,
    ScoringIsolated,
    ThresholdOverruled,
    VersionMismatchAccepted,
)


@contextmanager
def progress_bar(console: Console) -> Iterator[list[Observer]]:
    """Show a progress bar on a console while the block lasts; yields the observers that update it."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("counting due rows", total=None)

        def draw(event: Event) -> None:
            match event:
                case RunPlanned():
                    progress.update(task, description=f"run {event.run_id} of {event.job}", total=event.due_count)
                case ChunkCommitted():
                    progress.advance(task, event.counts.scored + event.counts.quarantined)
                case _ if (text := _remark(event)) is not None:
                    progress.console.print(text, markup=False)

        yield [draw]


def _remark(event: Event) -> str | None:
    """What is printed above the bar; None for events without a remark."""
    match event:
        case RunTookOver():
            return f"took over from run {event.abandoned.run_id}, which had stalled"
        case ThresholdOverruled():
            return event.difference
        case VersionMismatchAccepted():
            return f"accepted: {event.difference}"
        case ChallengerFailed():
            return f"challenger {event.alias} does not score: {event.failure}"
        case GateNotChecked():
            return f"the gate is off: {event.reason}"
        case HeldRowsReleased():
            return f"the rows are like those of run {event.released_run_id}, which was released"
        case ScoringIsolated():
            return f"the last {event.crashes} runs crashed: scoring in a child process"
    return None
