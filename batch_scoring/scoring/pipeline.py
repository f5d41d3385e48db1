"""Scoring a key range as a pipeline: while one chunk is scored, the next is read and the previous is written.

Scoring runs in the calling thread. A reader and a writer thread have one task each at a time, so at most three chunks
are in memory. An error in a thread is raised in the calling thread when its result is requested. On SQLite, where a
writer blocks readers, one thread reads and writes alternately.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from datetime import timedelta
from time import perf_counter

from batch_scoring.domain.keys import EVERYTHING, KeyRange
from batch_scoring.domain.runs import StageSeconds
from batch_scoring.errors import TooMuchAtOnce, TransientError
from batch_scoring.scoring.chunk import ChunkStages
from batch_scoring.scoring.events import CommittedChunk
from batch_scoring.scoring.transient import retry_transient
from batch_scoring.store.due.reader import Chunk, KeysetReader


class ChunkSize:
    """The row count of the next chunk: as the job sets it, or so that the slowest stage takes about a second.

    Chunks of wide rows have fewer rows, so that memory use is bounded.
    """

    FIRST = 20_000
    LEAST = 1_000
    MOST = 80_000
    TIME = timedelta(seconds=1)
    MEMORY = 32 * 2**20
    """Maximum bytes of the columns of a chunk."""

    def __init__(self, fixed: int | None) -> None:
        self._fixed = fixed
        self._rows = self.FIRST

    @property
    def rows(self) -> int:
        return self._fixed or self._rows

    def halve(self) -> None:
        """Halve the row count, even if the job sets it. Raises TooMuchAtOnce if it is 1."""
        if self.rows == 1:
            raise TooMuchAtOnce("a single row is larger than the database can return in one value")
        self._rows = self.rows // 2
        self._fixed = self._fixed and self._rows

    def adapt(self, rows: int, seconds: StageSeconds, size: int) -> None:
        """Adapt the row count to the last chunk, by a factor between 0.5 and 2."""
        slowest = max(seconds.read, seconds.score, seconds.write)
        by_time = rows * self.TIME.total_seconds() / max(slowest, 1e-6)
        if slowest <= self.TIME.total_seconds():
            by_time = max(by_time, self._rows)  # a small chunk is no reason for smaller ones
        by_memory = rows * self.MEMORY / max(size, 1)
        wanted = min(by_time, by_memory, 2 * self._rows, self.MOST)
        self._rows = max(int(wanted), self._rows // 2, self.LEAST)


class Pipeline:
    """Scores key ranges.

    ``report`` is called with each committed chunk, ``check`` between two chunks, both in the calling thread. An
    exception of ``check`` ends the range after the chunk that is being written.
    """

    def __init__(
        self, stages: ChunkStages, report: Callable[[CommittedChunk], None], check: Callable[[], None]
    ) -> None:
        self._stages = stages
        self._report = report
        self._check = check
        self._size = ChunkSize(stages.plan.job.run.chunk_rows)

    def run(self, within: KeyRange = EVERYTHING, *, due_count: int | None = None) -> None:
        """Score the due rows of a key range.

        Raises DatabaseFault, Fenced, ModelRefused, EveryRowFailed, WorkerCrashed, and what ``check`` raises.
        """
        reader_of_range = KeysetReader(
            query=self._stages.query,
            bulk=self._stages.bulk,
            features=self._stages.plan.features,
            remaining=within,
            due_count=due_count,
        )
        writing: tuple[Chunk, Future[CommittedChunk]] | None = None
        has_own_writer = self._stages.bulk.reads_while_writing
        with (
            ThreadPoolExecutor(1) as reader,
            ThreadPoolExecutor(1) if has_own_writer else nullcontext(reader) as writer,
        ):
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
            self._size.adapt(len(chunk.rows), committed.seconds, chunk.rows.size)
            self._report(committed)
