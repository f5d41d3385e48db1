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
                case RunTookOver():
                    progress.console.print(f"took over from run {event.abandoned.run_id}, which had stalled")
                case ThresholdOverruled():
                    progress.console.print(event.difference, markup=False)
                case VersionMismatchAccepted():
                    progress.console.print(f"accepted: {event.difference}", markup=False)
                case ChallengerFailed():
                    progress.console.print(f"challenger {event.alias} does not score: {event.failure}", markup=False)
                case ScoringIsolated():
                    progress.console.print(f"the last {event.crashes} runs crashed: scoring in a child process")

        yield [draw]
