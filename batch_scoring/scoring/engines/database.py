"""Scoring inside the database: the model is translated to SQL, proven there, and compared with itself while it scores.

Rows that the database cannot score stay due, and are left to another engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from batch_scoring.domain.keys import EVERYTHING, Key, KeyRange
from batch_scoring.domain.runs import ScoredBy
from batch_scoring.errors import DatabaseFault, EngineDiffers, Fenced, ModelRefused, TransientError
from batch_scoring.model.profiling import reference_for
from batch_scoring.model.scorer import Scorer
from batch_scoring.model.translation.features import NotTranslatable
from batch_scoring.model.translation.probes import TOLERANCE, difference, probes_of
from batch_scoring.model.translation.program import translate
from batch_scoring.scoring import preparation
from batch_scoring.scoring.events import ChallengerCounts, CommittedChunk
from batch_scoring.scoring.plan import RunPlan
from batch_scoring.scoring.progress import Progress
from batch_scoring.scoring.transient import retry_transient
from batch_scoring.store.bulk.choice import bulk_for
from batch_scoring.store.due.query import DueQuery
from batch_scoring.store.engine.columns import SourceColumn
from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.dialects.dialect import Dialect
from batch_scoring.store.engine.expressions import NotComputable
from batch_scoring.store.engine.programs import CompiledProgram
from batch_scoring.store.outcomes.counted import Counting, written_in
from batch_scoring.store.outcomes.in_database import ChallengerProgram, DatabaseScoring, ScoredRange
from batch_scoring.store.outcomes.sampled import SampledRows, sample

_ROWS = 100_000
"""Rows of the source that a transaction covers, unless the job sets the rows of a chunk."""

_FIRST_ROWS = 10_000
"""Rows of the first transaction at most, which is compared with the model before a second begins."""

_SESSIONS = 2
"""Sessions that write at a time, unless the job has more workers."""

_SAMPLE = 20
"""Rows of each transaction that scikit-learn scores again."""


class NotInDatabase(Exception):
    """A run cannot be scored inside the database; the text says why, for users."""


def compiled(scorer: Scorer, columns: Mapping[str, SourceColumn], dialect: Dialect) -> CompiledProgram:
    """The model as a program for rows with these columns. Raises NotInDatabase."""
    try:
        program = translate(scorer.model, scorer.manifest, scorer.policy)
        return CompiledProgram.of(program, columns, dialect)
    except (NotTranslatable, NotComputable) as exc:
        raise NotInDatabase(str(exc)) from None


def prove(database: Database, program: CompiledProgram, scorer: Scorer) -> float:
    """Compare the program with its model on golden rows and others; returns the largest difference.

    Raises EngineDiffers where it is above the tolerance, or the database does not score a golden row; NotInDatabase
    where the database lacks a function; DatabaseFault.
    """
    probes = probes_of(scorer.model, scorer.manifest, scorer.policy)
    with database.read() as connection:
        try:
            assert program.dialect.expressions is not None
            program.dialect.expressions.check(connection)
        except NotComputable as exc:
            raise NotInDatabase(str(exc)) from None
        found = program.compute(connection, probes.columns)
    if missing := [row for row in probes.required if found[row] is None]:
        raise EngineDiffers(
            f"the database does not score {len(missing)} of {len(probes.required)} rows that the model was registered"
            " with, or that have one value less",
            difference=float("inf"),
        )
    scored = [(expected, found[row]) for row, expected in probes.expected.items()]
    return _largest([difference(expected, result) for expected, result in scored if result is not None])


def _largest(differences: list[float]) -> float:
    largest = max(differences, default=0.0)
    if not largest <= TOLERANCE:
        raise EngineDiffers(
            f"the database computes other scores than the model (difference {largest:.3g}, {TOLERANCE:g} allowed)",
            difference=largest,
        )
    return largest


_REFUSED = "the database fails to compute it"


def _challengers(plan: RunPlan, database: Database) -> list[ChallengerProgram | ChallengerCounts]:
    """The challengers of a run as programs, or why one is none.

    Raises NotInDatabase for one without a translation, where the job leaves the choice of the engine to the run.
    """
    found: list[ChallengerProgram | ChallengerCounts] = []
    source = plan.queries[0].source
    for one in plan.challengers:
        if one.model is None:
            continue
        try:
            if reason := preparation.why_in_python(plan.job, source, one.model.manifest):
                raise NotInDatabase(reason)
            scorer, _ = preparation.load_scorer(one.model)
            program = compiled(scorer, source.columns, source.dialect)
            retry_transient(partial(prove, database, program, scorer))
        except (TransientError, Fenced):
            raise
        except DatabaseFault:
            found.append(ChallengerCounts(alias=one.alias, scored=0, failed=0, failure=_REFUSED))
        except (NotInDatabase, ModelRefused) as exc:
            if isinstance(exc, NotInDatabase) and plan.job.run.engine == "auto":
                raise NotInDatabase(f"challenger {one.alias}: {exc}") from None
            found.append(ChallengerCounts(alias=one.alias, scored=0, failed=0, failure=str(exc)))
        else:
            found.append(ChallengerProgram(alias=one.alias, version=one.model.version, program=program))
    return found


@dataclass(slots=True)
class DatabaseEngine:
    """Scores the due rows of a run inside the database."""

    plan: RunPlan
    database: Database
    progress: Progress
    scorer: Scorer
    program: CompiledProgram
    largest_difference: float
    scored_count: int = 0
    challengers: tuple[ChallengerProgram, ...] = ()

    @classmethod
    def of(cls, plan: RunPlan, database: Database, progress: Progress) -> DatabaseEngine:
        """Load the model, translate it and prove the translation.

        Raises NotInDatabase, EngineDiffers, ModelRefused, DatabaseFault.
        """
        if not plan.queries:
            raise NotInDatabase("no rows are selected")
        if reason := preparation.why_in_python(plan.job, plan.queries[0].source, plan.model.manifest):
            raise NotInDatabase(reason)
        scorer, version_difference = preparation.load_scorer(plan.model)
        source = plan.queries[0].source
        program = compiled(scorer, source.columns, source.dialect)
        challengers = _challengers(plan, database)
        largest = retry_transient(partial(prove, database, program, scorer))
        progress.engine_chosen(ScoredBy(engine="database", largest_difference=largest))
        progress.model_loaded(version_difference)
        found = cls(plan, database, progress, scorer, program, largest)
        for one in challengers:
            if isinstance(one, ChallengerProgram):
                found.challengers += (one,)
            else:
                progress.challenger_did(one)
        return found

    def score(self, due_count: int) -> None:
        """Score what the database can. Raises EngineDiffers, Fenced, RunStopped, DatabaseFault."""
        model = self.plan.model
        reference = reference_for(model.manifest, model.policy)
        inputs = self.program.program.inputs
        again = partial(written_in, self.plan.window) if self.plan.window else None
        counting = None if reference is None else Counting(reference=reference, inputs=inputs, again=again)
        for query in self.plan.queries:
            scoring = DatabaseScoring(
                query=query,
                program=replace(self.program, columns=query.source.columns),
                run_id=self.plan.run_id,
                model_version=model.version,
                stored_inputs=self.plan.stored_inputs,
                challengers=tuple(
                    replace(one, program=replace(one.program, columns=query.source.columns)) for one in self.challengers
                ),
                counting=counting,
            )
            self._score(scoring, query.scan.due_at_most(due_count))

    def _score(self, scoring: DatabaseScoring, due_count: int) -> None:
        """Score the ranges of a query: the first by itself, then several at a time where the database allows it."""
        workers = 1
        writing: list[tuple[KeyRange, Future[ScoredRange]]] = []
        sessions = max(_SESSIONS, self.plan.workers) if self.database.dialect.locks_rows else 1
        with ThreadPoolExecutor(sessions) as pool:
            try:
                for chunk in self._ranges(scoring.query, due_count):
                    self.progress.check()
                    writing.append((chunk, pool.submit(self._write, scoring, chunk)))
                    if len(writing) >= workers:
                        self._settle(scoring, *writing.pop(0))
                    workers = sessions
                while writing:
                    self._settle(scoring, *writing.pop(0))
            except BaseException:
                for _, committed in writing:
                    if committed.exception() is None:
                        self._report(committed.result())
                raise

    def _write(self, scoring: DatabaseScoring, chunk: KeyRange) -> ScoredRange:
        if not self.challengers:
            scoring = replace(scoring, challengers=())
        try:
            return retry_transient(partial(scoring.score, self.database, chunk))
        except (TransientError, Fenced):
            raise
        except DatabaseFault:
            if not scoring.challengers:
                raise
            found = retry_transient(partial(replace(scoring, challengers=()).score, self.database, chunk))
            return replace(found, is_without_challengers=True)

    def _settle(self, scoring: DatabaseScoring, chunk: KeyRange, writing: Future[ScoredRange]) -> None:
        found = writing.result()
        self._report(found)
        if found.counts.scored:
            self._verify(scoring, chunk, found)

    def _report(self, found: ScoredRange) -> None:
        if found.counts.scored:
            self.scored_count += found.counts.scored
            challenged = [
                ChallengerCounts(
                    alias=one.alias,
                    scored=(scored := found.challenged.get(one.version, 0)),
                    failed=found.counts.scored - scored,
                    failure=_REFUSED if found.is_without_challengers else None,
                )
                for one in self.challengers
            ]
            if found.is_without_challengers:
                self.challengers = ()
            chunk = CommittedChunk(counts=found.counts, reasons={}, seconds=found.seconds, challenged=challenged)
            self.progress.committed(chunk)

    def _ranges(self, query: DueQuery, due_count: int) -> Iterator[KeyRange]:
        rows = self.plan.job.run.chunk_rows or _ROWS
        remaining = EVERYTHING
        while due_count > rows:
            end = self._key_at(query, remaining, min(rows, _FIRST_ROWS) if remaining is EVERYTHING else rows)
            if end is None:
                break
            yield replace(remaining, upper=end)
            remaining = KeyRange(lower=end)
        if remaining is EVERYTHING or self._key_at(query, remaining, 1) is not None:
            yield remaining

    def _key_at(self, query: DueQuery, chunk: KeyRange, rows: int) -> Key | None:
        def key_at() -> Key | None:
            with self.database.read() as connection:
                return query.key_at(connection, chunk, rows)

        return retry_transient(key_at)

    def _verify(self, scoring: DatabaseScoring, chunk: KeyRange, found: ScoredRange) -> None:
        """Score some of the rows again with the model. Raises EngineDiffers."""
        bulk = bulk_for(self.database, self.plan.job.run.bulk)

        def sampled() -> SampledRows:
            with self.database.read() as connection:
                return sample(scoring, connection, bulk, chunk, found, _SAMPLE)

        rows = retry_transient(sampled)
        if not rows.scores:
            return
        scored = self.scorer.score_singly(rows.features)
        computed = list(zip(rows.scores, rows.labels, strict=True))
        labels: Sequence[str | None] = scored.labels or [None] * len(scored.positions)
        scores = [] if scored.scores is None else scored.scores.tolist()
        differences = [
            difference((score, label), computed[position])
            for position, score, label in zip(scored.positions, scores, labels, strict=True)
        ]
        differences += [float("inf")] * len(scored.faults)
        differences += [
            difference(result, written)
            for result, written, same in zip(computed, rows.written, rows.is_unchanged, strict=True)
            if same
        ]
        self.largest_difference = max(self.largest_difference, *differences)
        _largest(differences)
