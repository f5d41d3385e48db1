"""Programs as queries: a subquery for each step, so that every value is computed once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import sqlalchemy as sa

from batch_scoring.domain.column_types import ColumnType, Family
from batch_scoring.domain.expressions import Condition, Expression, Input, Program, names_in
from batch_scoring.store.engine.columns import SourceColumn
from batch_scoring.store.engine.dialects.dialect import Dialect
from batch_scoring.store.engine.expressions import ExpressionSyntax, NotComputable, Printer
from batch_scoring.store.engine.names import exactly, statement_text

SCORE, LABEL = "score", "prediction"
"""The columns of the result."""

_ROW = "row number"
_ROWS_A_STATEMENT = 100
_Type: TypeAlias = tuple[sa.types.TypeEngine[Any], type, Family, str]
_CONSTANTS: dict[ColumnType, _Type] = {
    ColumnType.TEXT: (sa.Text(), str, Family.TEXT, "text"),
    ColumnType.BOOLEAN: (sa.Integer(), int, Family.INTEGER, "int4"),
}
_NUMBER: _Type = (sa.Double(), float, Family.NUMBER, "float8")
"""The types of constants: in SQL, in Python, and as those of columns."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CompiledProgram:
    """A program for rows with given columns of one kind of database."""

    program: Program
    columns: Mapping[str, SourceColumn]
    dialect: Dialect

    @classmethod
    def of(cls, program: Program, columns: Mapping[str, SourceColumn], dialect: Dialect) -> CompiledProgram:
        """Compile a program for the columns of a source. Raises NotComputable."""
        if dialect.expressions is None:
            raise NotComputable(f"{dialect.product} has no engine for models")
        compiled = cls(program=program, columns=columns, dialect=dialect)
        check_inputs(program.inputs, columns, dialect.expressions)
        list(compiled._texts())  # raises where a constant cannot be written
        return compiled

    def over(
        self,
        rows: sa.Select[Any],
        values: Mapping[str, sa.ColumnElement[Any]],
        carried: Sequence[str],
        *,
        returned: Sequence[str] = (),
    ) -> sa.Subquery:
        """The carried columns of a query with the score and the label of each row that the database scores.

        ``values`` are the columns of the query that the program takes, ``carried`` the labels of others, which are no
        names of the program. ``returned`` are names of the program that are columns of the result, too: values of its
        steps, and inputs as it takes them, which are texts, and numbers of double precision.
        """
        inputs: dict[str, sa.ColumnElement[Any]] = {}
        conditions: list[sa.ColumnElement[bool]] = []
        for wanted in self.program.inputs:
            value, of_value = self._syntax.as_input(self.columns[wanted.name], values[wanted.name], wanted)
            inputs[wanted.name] = value
            conditions += of_value
        texts = {name: statement_text(value, self.dialect.sqlalchemy) for name, value in inputs.items()}
        printer = Printer(syntax=self._syntax, quote=texts.__getitem__)
        (first, kept), *others = self._steps(returned)
        query = rows.add_columns(
            *(inputs[name].label(exactly(name)) for name in kept), *self._values(printer, first)
        ).where(*conditions, *self._conditions(printer, self.program.conditions))
        printer = self._printer
        for step, kept in others:
            before = _computed_once(query)
            columns = [before.c[name] for name in (*carried, *kept)]
            query = sa.select(*columns, *self._values(printer, step)).select_from(before)
        before = _computed_once(query)
        label = self.program.label
        return (
            sa.select(
                *(before.c[name] for name in (*carried, *returned)),
                sa.literal_column(printer.expression(self.program.score), sa.Double).label(SCORE),
                (sa.null() if label is None else sa.literal_column(printer.expression(label), sa.Text)).label(LABEL),
            )
            .select_from(before)
            .where(*self._conditions(printer, self.program.accepted))
            .subquery("scored")
        )

    def _values(self, printer: Printer, step: Sequence[tuple[str, Expression]]) -> list[sa.ColumnElement[Any]]:
        return [sa.literal_column(printer.expression(value), sa.Double).label(exactly(name)) for name, value in step]

    def text(self, table: str, keys: Sequence[str], where: str | None = None) -> str:
        """The query as text to read: keys, score and label of the rows of a table that the database scores.

        ``table`` and ``keys`` are names in SQL, ``where`` is a condition on the rows.
        """
        elements: dict[str, sa.ColumnElement[Any]] = {name: sa.column(exactly(name)) for name in self.columns_used}
        texts: dict[str, str] = {}
        conditions: list[str] = [f"({where}\n)"] if where else []
        for wanted in self.program.inputs:
            value, of_value = self._syntax.as_input(self.columns[wanted.name], elements[wanted.name], wanted)
            texts[wanted.name] = statement_text(value, self.dialect.sqlalchemy)
            conditions += [f"({statement_text(condition, self.dialect.sqlalchemy)})" for condition in of_value]
        printer = Printer(syntax=self._syntax, quote=texts.__getitem__)
        conditions += [f"({printer.condition(condition)})" for condition in self.program.conditions]
        quoted = self.dialect.quoted
        query = table
        for number, (step, kept) in enumerate(self._steps()):
            names = [*keys, *(quoted(name) if number else _named(texts[name], quoted(name)) for name in kept)]
            values = [_named(printer.expression(value, "  "), quoted(name)) for name, value in step]
            query = _select([*names, *values], query, conditions)
            query = f"{query}\n{self._syntax.fence}"
            printer, conditions = self._printer, []
        label = self.program.label
        result = [_named(printer.expression(self.program.score, "  "), SCORE)]
        result.append(_named("NULL" if label is None else printer.expression(label, "  "), LABEL))
        accepted = [printer.condition(condition, "  ") for condition in self.program.accepted]
        return _select([*keys, *result], query, [f"({condition})" for condition in accepted])

    def compute(self, connection: sa.Connection, values: Mapping[str, Sequence[Any]]) -> list[tuple[float, Any] | None]:
        """Score and label for each of n rows given by input, None for a row that the database does not score."""
        compiled = replace(self, columns=plain_columns(self.program.inputs))
        count = len(next(iter(values.values())))
        found: list[tuple[float, Any] | None] = [None] * count
        for start in range(0, count, _ROWS_A_STATEMENT):
            given = self._given(values, range(start, min(start + _ROWS_A_STATEMENT, count)))
            query = sa.select(given.c[_ROW])
            scored = compiled.over(query, {name: given.c[name] for name in self.columns_used}, [_ROW])
            for row, score, label in connection.execute(sa.select(*scored.c)):
                found[row] = None if score is None else (float(score), label)
        return found

    @property
    def columns_used(self) -> list[str]:
        """The names of the columns that the program takes."""
        return [wanted.name for wanted in self.program.inputs]

    def _given(self, values: Mapping[str, Sequence[Any]], rows: Iterable[int]) -> sa.Subquery:
        """Rows of constants as a subquery."""
        types = {wanted.name: _CONSTANTS.get(wanted.type, _NUMBER) for wanted in self.program.inputs}
        columns = [sa.column(exactly(name), kind) for name, (kind, *_) in types.items()]
        data = [(row, *(_constant(values[name][row], own) for name, (_, own, *_) in types.items())) for row in rows]
        given = sa.values(sa.column(_ROW, sa.Integer), *columns).data(data).cte("constants")
        # in a list of values the type of a column is that of its first constant, which may be NULL
        typed = [sa.cast(given.c[name], kind).label(exactly(name)) for name, (kind, *_) in types.items()]
        return sa.select(sa.cast(given.c[_ROW], sa.Integer).label(_ROW), *typed).subquery("given")

    @property
    def _syntax(self) -> ExpressionSyntax:
        assert self.dialect.expressions is not None
        return self.dialect.expressions

    @property
    def _printer(self) -> Printer:
        return Printer(syntax=self._syntax, quote=self.dialect.quoted)

    def _steps(self, returned: Sequence[str] = ()) -> Iterator[tuple[Sequence[tuple[str, Expression]], Sequence[str]]]:
        """Each step, and the names of earlier values that later ones need or that are returned. At least one."""
        steps = self.program.steps or ((),)
        result: list[Expression | Condition | None] = [
            self.program.score,
            self.program.label,
            *self.program.accepted,
        ]
        available = [wanted.name for wanted in self.program.inputs]
        for position, step in enumerate(steps):
            later = [expression for following in steps[position + 1 :] for _, expression in following]
            needed = {name for tree in [*later, *result] for name in names_in(tree)} | {*returned}
            yield step, [name for name in available if name in needed]
            available += [name for name, _ in step]

    def _conditions(self, printer: Printer, conditions: Sequence[Condition]) -> list[sa.ColumnElement[bool]]:
        return [sa.literal_column(f"({printer.condition(condition)})", sa.Boolean) for condition in conditions]

    def _texts(self) -> Iterator[str]:
        printer = self._printer
        yield from (printer.condition(c) for c in (*self.program.conditions, *self.program.accepted))
        yield from (printer.expression(expression) for step in self.program.steps for _, expression in step)
        if self.program.label is not None:
            yield printer.expression(self.program.label)


def plain_columns(inputs: Iterable[Input]) -> dict[str, SourceColumn]:
    """Columns of the types of constants: texts, integers for booleans, and numbers of double precision."""
    columns = {}
    for wanted in inputs:
        kind, _, family, base = _CONSTANTS.get(wanted.type, _NUMBER)
        columns[wanted.name] = SourceColumn(name=wanted.name, ddl=str(kind), family=family, nullable=True, base=base)
    return columns


def check_inputs(inputs: Iterable[Input], columns: Mapping[str, SourceColumn], syntax: ExpressionSyntax) -> None:
    """Raise NotComputable for a column that is not converted as for a model in Python."""
    for wanted in inputs:
        syntax.as_input(columns[wanted.name], sa.column(exactly(wanted.name)), wanted)


def _named(text: str, name: str) -> str:
    return text if text == name else f"{text} AS {name}"


def _select(columns: Sequence[str], source: str, conditions: Sequence[str]) -> str:
    """A SELECT with a line for each column and condition; ``source`` is a table, or a query of several lines."""
    if "\n" in source:
        indented = source.replace("\n", "\n  ")
        source = f"(\n  {indented}\n) AS step"
    listed = ",\n  ".join(columns)
    where = "\nWHERE " + "\n  AND ".join(conditions) if conditions else ""
    return f"SELECT\n  {listed}\nFROM {source}{where}"


def _constant(value: Any, kind: type) -> Any:
    return None if value is None else kind(value)


def _computed_once(query: sa.Select[Any]) -> sa.Subquery:
    """A subquery that the planner does not merge with what is around it, which would compute its values repeatedly."""
    return query.offset(sa.literal_column("0")).subquery()
