"""A key range, scored with reading, scoring and writing overlapped: while one chunk is scored the next is read and
the last is written.

Scoring stays in the calling thread; a reader and a writer thread have one task each at a time, so at most three
chunks are in memory. A fault of a thread is raised in the calling thread when its result is asked for. Where two
threads in the database hinder each other (SQLite), one thread reads and writes in turn.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from datetime import timedelta
from time import perf_counter

from batch_scoring.domain.keys import EVERYTHING, KeyRange
from batch_scoring.errors import TooMuchAtOnce, TransientError
from batch_scoring.scoring.chunk import ChunkStages
from batch_scoring.scoring.events import CommittedChunk, StageSeconds
from batch_scoring.scoring.transient import retry_transient
from batch_scoring.store.due.reader import Chunk, KeysetReader


class ChunkSize:
    """How many rows the next chunk has: as the job says, or what takes its slowest stage about a second.

    Rows that are wide make chunks smaller, so that memory stays flat.
    """

    FIRST = 20_000
    LEAST = 1_000
    MOST = 80_000
    TIME = timedelta(seconds=1)
    MEMORY = 32 * 2**20
    """Bytes of the columns read."""

    def __init__(self, fixed: int | None) -> None:
        self._fixed = fixed
        self._rows = self.FIRST

    @property
    def rows(self) -> int:
        return self._fixed or self._rows

    def halve(self) -> None:
        """Take half the rows, even where the job fixed them. Raises TooMuchAtOnce at a single one."""
        if self.rows == 1:
            raise TooMuchAtOnce("a single row is more than the database hands over in one piece")
        self._rows = self.rows // 2
        self._fixed = self._fixed and self._rows

    def learn(self, rows: int, seconds: StageSeconds, size: int) -> None:
        """Take the last chunk as a measure; a step at most halves or doubles the rows."""
        slowest = max(seconds.read, seconds.score, seconds.write)
        by_time = rows * self.TIME.total_seconds() / max(slowest, 1e-6)
        if slowest <= self.TIME.total_seconds():
            by_time = max(by_time, self._rows)  # a chunk of few rows says little about many
        by_memory = rows * self.MEMORY / max(size, 1)
        wanted = min(by_time, by_memory, 2 * self._rows, self.MOST)
        self._rows = max(int(wanted), self._rows // 2, self.LEAST)


class Pipeline:
    """Scores key ranges. ``report`` is called with each committed chunk, ``check`` between two; both are called in
    the calling thread, and what ``check`` raises ends the range after the chunk that is being written.
    """

    def __init__(
        self, stages: ChunkStages, report: Callable[[CommittedChunk], None], check: Callable[[], None]
    ) -> None:
        self._stages = stages
        self._report = report
        self._check = check
        self._size = ChunkSize(stages.plan.job.run.chunk_rows)

    def run(self, within: KeyRange = EVERYTHING, *, due_count: int | None = None) -> None:
        """Score what is due in a key range. Raises DatabaseFault, Fenced, EveryRowFailed and what ``check`` raises."""
        reader_of_range = KeysetReader(
            query=self._stages.query,
            bulk=self._stages.bulk,
            features=self._stages.plan.features,
            remaining=within,
            due_count=due_count,
        )
        writing: tuple[Chunk, Future[CommittedChunk]] | None = None
        apart = self._stages.bulk.reads_while_writing
        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) if apart else nullcontext(reader) as writer:
            reading: Future[tuple[Chunk, float]] | None = reader.submit(self._read, reader_of_range)
            try:
                _ = self._stages.scorer  # loads while the first chunk is read
                while reading is not None:
                    chunk, seconds = reading.result()
                    self._check()
                    reading = None if chunk.rest is None else reader.submit(self._read, chunk.rest)
                    if len(chunk.rows):
                        scored = self._stages.score(chunk.rows, seconds)
                        if writing is not None:
                            self._settle(*writing)
                        writing = chunk, writer.submit(self._stages.commit, scored)
            except BaseException:
                if writing is not None and writing[1].exception() is None:
                    self._report(writing[1].result())
                raise
            if writing is not None:
                self._settle(*writing)

    def _read(self, remaining: KeysetReader) -> tuple[Chunk, float]:
        started = perf_counter()

        def read() -> Chunk:
            with self._stages.database.read() as connection:
                return remaining.next_chunk(connection, self._size.rows)

        while True:
            try:
                return retry_transient(read), perf_counter() - started
            except TooMuchAtOnce:
                self._size.halve()

    def _settle(self, chunk: Chunk, writing: Future[CommittedChunk]) -> None:
        try:
            committed = writing.result()
        except TransientError:
            for committed_again in self._stages.retry(chunk.range):
                self._report(committed_again)
        else:
            self._size.learn(len(chunk.rows), committed.seconds, chunk.rows.size)
            self._report(committed)
