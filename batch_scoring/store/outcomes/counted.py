"""Count the rows that the database scores, in the bins of a reference.

The statement that scores a row computes the bins of its values, packed into few numbers (see ``domain.bin_codes``).
They are counted here: some bytes of each row leave the database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import sqlalchemy as sa

from batch_scoring.domain.bin_codes import (
    FeatureCodes,
    LabelCodes,
    NumberCodes,
    Word,
    bits,
    codes_of,
    words_of,
)
from batch_scoring.domain.expressions import Expression, Input, Name
from batch_scoring.domain.profile import Profile, Reference, histogram, total
from batch_scoring.store.due.query import DueRows
from batch_scoring.store.engine.expressions import ExpressionSyntax, Printer
from batch_scoring.store.engine.names import exactly, quoted
from batch_scoring.store.engine.programs import LABEL, SCORE, CompiledProgram
from batch_scoring.store.engine.sql_types import UtcTimestamp

if TYPE_CHECKING:
    import numpy as np

    Numbers: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

_AGAIN, _WORD, _NUMBER = "counted again", "counted word", "counted number"
"""Labels have a blank, so that they are not those of inputs."""

_ROWS_AT_A_TIME = 10_000
"""Rows fetched at a time where the database does not aggregate them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Counted:
    """Profiles of rows that were scored: of all of them, and of those that are counted again."""

    rows: Profile
    again: Profile | None = None
    """None where nothing asks for it."""

    @property
    def profile(self) -> Profile:
        """The profile of all of them, with the nested one."""
        has_again = self.again is not None and self.again.rows > 0
        return self.rows.model_copy(update={"again": self.again}) if has_again else self.rows

    def __add__(self, other: Counted) -> Counted:
        again = None if self.again is None or other.again is None else self.again + other.again
        return Counted(rows=self.rows + other.rows, again=again)


def written_in(periods: Sequence[tuple[datetime, datetime]], due: DueRows) -> sa.ColumnElement[bool]:
    """The condition that the last outcome of a due row begins in one of these periods."""
    if not due.written_at or not periods:
        return sa.false()
    written_at = sa.func.coalesce(*due.written_at) if len(due.written_at) > 1 else due.written_at[0]
    conditions = [
        written_at.between(sa.literal(start, UtcTimestamp()), sa.literal(end, UtcTimestamp())) for start, end in periods
    ]
    return sa.and_(written_at.is_not(None), sa.or_(*conditions))


@dataclass(frozen=True, kw_only=True)
class Counting:
    """What is counted of the rows that a program scores."""

    reference: Reference
    inputs: tuple[Input, ...]
    """Those of the program."""
    again: Callable[[DueRows], sa.ColumnElement[bool]] | None = None
    """The condition on a due row, with its current prediction, under which it is counted again, by itself."""

    # --- the columns of the query that scores

    def extended(self, program: CompiledProgram) -> CompiledProgram:
        """The program, computing what is counted, too."""
        return replace(program, program=program.program.with_values(tuple(self._values.items())))

    @property
    def returned(self) -> list[str]:
        """The names of these values."""
        return [*self._values]

    def carried(self, due: DueRows) -> dict[str, sa.ColumnElement[Any]]:
        """The column by which rows are counted again."""
        return {} if self.again is None else {_AGAIN: sa.case((self.again(due), 1), else_=0)}

    # --- counts

    def aggregates(self, scored: sa.FromClause, syntax: ExpressionSyntax) -> sa.Select[Any]:
        """The query of ``of_aggregates`` over scored rows, where a statement writes several tables."""
        packed = [*self._complete(scored, syntax), *([] if self.reference.scores is None else [scored.c[SCORE]])]
        columns = [
            self._group(scored),
            sa.func.count(),
            *(syntax.packed(values) for values in packed),
            *(function(number) for function in (sa.func.min, sa.func.max) for number in self._own_numbers(scored)),
        ]
        query = sa.select(*(column.label(f"counted {number}") for number, column in enumerate(columns)))
        query = query.select_from(scored)
        return query if self.again is None else query.group_by(scored.c[_AGAIN])

    def of_aggregates(self, found: Iterable[Sequence[Any]]) -> Counted:
        """The profiles, given the rows of that query."""
        import numpy as np

        by_group: dict[int, Profile] = {}
        count = len(self._numbers)
        for group, rows, *values in found:
            split = len(values) - 2 * count
            words = [np.frombuffer(value or b"", ">f8") for value in values[:split]]
            scores = np.empty(0) if self.reference.scores is None else words.pop()
            by_group[group] = self._profile(rows, words, scores, values[split : split + count], values[split + count :])
        return self._counted(by_group)

    def fetch(self, connection: sa.Connection, scored: sa.FromClause, syntax: ExpressionSyntax) -> Counted:
        """Read what is counted of scored rows and count it, where a statement writes one table only (see ``kept``)."""
        import numpy as np

        columns = [self._group(scored), scored.c[SCORE], *self._complete(scored, syntax), *self._own_numbers(scored)]
        query = sa.select(*(column.label(f"counted {number}") for number, column in enumerate(columns)))
        by_group: dict[int, Profile] = {}
        for rows in connection.execute(query).partitions(_ROWS_AT_A_TIME):
            table = np.array([tuple(row) for row in rows], np.float64)
            for group in (0, 1):
                part = table[table[:, 0] == group]
                if len(part):
                    own = self._profile_of_table(part)
                    by_group[group] = by_group[group] + own if group in by_group else own
        return self._counted(by_group)

    def _profile_of_table(self, table: Numbers) -> Profile:
        import numpy as np

        _, scores, *values = table.T
        words, numbers = values[: len(self._words)], values[len(self._words) :]
        present = [values[~np.isnan(values)] for values in numbers]  # NULL is read as NaN
        lows, highs = (
            [float(function(values)) if len(values) else None for values in present] for function in (np.min, np.max)
        )
        return self._profile(len(table), words, scores, lows, highs)

    def _counted(self, by_group: dict[int, Profile]) -> Counted:
        """Group 1 is of the rows that are counted again, group 0 of the others."""
        unknown = [None] * len(self._numbers)
        nothing = self._profile(0, [[]] * len(self._words), [], unknown, unknown)
        again = None if self.again is None else by_group.get(1, nothing)
        return Counted(rows=total(by_group.values()) or nothing, again=again)

    def _profile(
        self,
        rows: int,
        words: Sequence[Sequence[float] | Numbers],
        scores: Sequence[float] | Numbers,
        lows: Sequence[float | None],
        highs: Sequence[float | None],
    ) -> Profile:
        """The profile of n rows: words and scores of length n, and the smallest and largest of each number."""
        import numpy as np

        by_code: list[list[int]] = []
        for word, values in zip(self._words, words, strict=True):
            integers = np.asarray(values, np.float64).astype(np.int64)
            for one, shift in zip(word.codes, word.shifts, strict=True):
                by_code.append(np.bincount((integers >> shift) & (2 ** bits(one) - 1), minlength=one.size).tolist())
        ranges = dict(zip((one.name for one in self._numbers), zip(lows, highs, strict=True), strict=True))
        labels = zip(self.reference.labels, by_code[len(self._features)], strict=True) if self._labels else ()
        bins = self.reference.scores
        return Profile(
            rows=rows,
            features={
                one.name: one.counts(counts, *ranges.get(one.name, (None, None)))
                for one, counts in zip(self._features, by_code, strict=False)
            },
            scores={} if bins is None else histogram(np.asarray(scores, np.float64), bins.low, bins.high),
            labels=dict(sorted((label, count) for label, count in labels if count)),
        )

    # --- codes

    @cached_property
    def _features(self) -> list[FeatureCodes]:
        inputs = {wanted.name: wanted for wanted in self.inputs}
        return [codes_of(bins, inputs[bins.name]) for bins in self.reference.features]

    @cached_property
    def _numbers(self) -> list[NumberCodes]:
        return [one for one in self._features if isinstance(one, NumberCodes)]

    @cached_property
    def _labels(self) -> list[LabelCodes]:
        """The codes of the label, if there is one; they are packed last."""
        labels = tuple(self.reference.labels)
        return [LabelCodes(name=LABEL, labels=labels)] if labels else []

    @cached_property
    def _words(self) -> list[Word]:
        return words_of([*self._features, *self._labels])

    @cached_property
    def _values(self) -> dict[str, Expression]:
        """Words without the label, which is not known in that step, and the numbers whose range is recorded."""
        words = {f"{_WORD} {number}": word.sum_of(self._features) for number, word in enumerate(self._words)}
        return words | {f"{_NUMBER} {number}": Name(one.name) for number, one in enumerate(self._numbers)}

    def _complete(self, scored: sa.FromClause, syntax: ExpressionSyntax) -> list[sa.ColumnElement[Any]]:
        """The words of scored rows, with the label."""
        words: list[sa.ColumnElement[Any]] = [scored.c[f"{_WORD} {number}"] for number in range(len(self._words))]
        if self._labels:
            label = Printer(syntax=syntax, quote=lambda name: name).expression(self._words[-1].sum_of(self._labels))
            words[-1] = words[-1] + sa.literal_column(label, sa.Double)
        return words

    def _own_numbers(self, scored: sa.FromClause) -> list[sa.ColumnElement[Any]]:
        return [scored.c[f"{_NUMBER} {number}"] for number in range(len(self._numbers))]

    def _group(self, scored: sa.FromClause) -> sa.ColumnElement[Any]:
        return sa.literal_column("0", sa.Integer) if self.again is None else scored.c[_AGAIN]


_KEPT = exactly("scored rows")


def kept(scored: sa.FromClause) -> sa.TableClause:
    """The temporary table of scored rows, where a statement writes one table only: computing them again would double
    the time that they take."""
    return sa.table(_KEPT, *(sa.column(exactly(column.name), column.type) for column in scored.c), schema="temp")


def keep(connection: sa.Connection, scored: sa.FromClause) -> None:
    """Create this table, with the rows of the query; ``drop_kept`` or a rollback ends it."""
    table = kept(scored)
    names = ", ".join(quoted(connection.dialect, column.name) for column in table.c)
    connection.exec_driver_sql(f"CREATE TABLE temp.{quoted(connection.dialect, _KEPT)} ({names})")
    connection.execute(sa.insert(table).from_select([*table.c], sa.select(*scored.c)))


def drop_kept(connection: sa.Connection) -> None:
    """Drop the table."""
    connection.exec_driver_sql(f"DROP TABLE temp.{quoted(connection.dialect, _KEPT)}")
