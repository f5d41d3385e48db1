"""The progress bar: an observer of a run's events, for a person at a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from batch_scoring.scoring.events import (
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
    """Observers that draw a bar on standard error while the block lasts."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("looking for what is due", total=None)

        def draw(event: Event) -> None:
            match event:
                case RunPlanned():
                    progress.update(task, description=f"run {event.run_id} of {event.job}", total=event.due_count)
                case ChunkCommitted():
                    progress.advance(task, event.counts.scored + event.counts.quarantined)
                case RunTookOver():
                    progress.console.print(f"took over from run {event.abandoned.run_id}, which had stalled")
                case ThresholdOverruled():
                    progress.console.print(event.difference)
                case VersionMismatchAccepted():
                    progress.console.print(f"accepted: {event.difference}")
                case ScoringIsolated():
                    progress.console.print(f"the last {event.crashes} runs crashed: scoring in a process of its own")

        yield [draw]
