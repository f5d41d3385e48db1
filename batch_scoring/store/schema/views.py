"""The views for BI: templates under ``sql/views``, one file for each dialect."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from string import Template

from batch_scoring.domain.job import Source
from batch_scoring.domain.names import TableName
from batch_scoring.resources import resource
from batch_scoring.store.engine.dialects.dialect import Dialect
from batch_scoring.store.engine.dialects.registered import dialect_named
from batch_scoring.store.engine.names import literal
from batch_scoring.store.schema.layout import SCORE_COMMENTS, PredictionsLayout
from batch_scoring.store.schema.tables import metadata

SHARED = (
    "run_history",
    "data_freshness",
    "quarantine_summary",
    "drift_latest",
    "drift_history",
    "drift_alert_history",
    "performance",
    "performance_history",
    "calibration",
    "decision_overrides",
    "outcome_coverage",
)
"""Views that cover all jobs."""

PER_JOB = ("current", "history", "daily", "distribution", "agreement")
"""Views of one predictions table, with whose name theirs start; PostgreSQL also has functions, see FUNCTIONS."""

FUNCTIONS: Mapping[str, str] = {"as_of": "timestamptz", "gone": ""}
"""PostgreSQL's functions of one predictions table, named like the views, with the types of their parameters."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Expressions:
    """SQL expressions for a variant of the templates; ``{}`` stands for the expression that is cast."""

    integer: str
    double: str
    positive_count: str
    positive_share: str
    ordinary_positive_count: str
    """Of the predictions of ordinary runs."""
    forever: str
    """``valid_to`` of a current row."""
    timestamp: str
    """A time in UTC, given as ``at``."""
    week: str
    """The Monday of ``day``."""


EXPRESSIONS: Mapping[str, Expressions] = {
    "postgresql": Expressions(
        integer="{}::bigint",
        double="{}::double precision",
        positive_count="sum(positive_n)::bigint",
        positive_share="(sum(positive_n) / sum(n))::double precision",
        ordinary_positive_count="(sum(positive_n) - coalesce(sum(rescored_positive_n), 0))::bigint",
        forever="TIMESTAMPTZ '9999-12-31 00:00:00+00'",
        timestamp="'{at:%Y-%m-%d %H:%M:%S}+00'",
        week="date_trunc('week', day)::date",
    ),
    "sqlite": Expressions(
        integer="{}",
        double="{}",
        positive_count="sum(prediction = {label})",
        positive_share="avg(prediction = {label})",
        ordinary_positive_count="sum(prediction = {label} AND NOT is_rescore)",
        forever="'9999-12-31 00:00:00.000000'",
        timestamp="'{at:%Y-%m-%d %H:%M:%S.%f}'",
        week="date(day, 'weekday 0', '-6 days')",
    ),
}
"""By the variant's name, see Dialect.templates."""


def view_name(layout: PredictionsLayout, view: str) -> TableName:
    """The name of one of a predictions table's own views."""
    return layout.table._replace(name=f"{layout.table.name}_{view}")


def fixed_names(dialect: Dialect, schema: str | None) -> dict[str, str]:
    """The tables and views that all jobs share, as templates name them."""
    return {name: dialect.quoted(schema, name) for name in (*(table.name for table in metadata.sorted_tables), *SHARED)}


def shared_sql(dialect: Dialect, jobs: Iterable[tuple[str, PredictionsLayout]], schema: str | None = None) -> list[str]:
    """The statements that create or replace the views that cover all jobs; none for a dialect without templates.

    ``schema`` is that of the tables that all jobs share, if they are to be named with it.
    """
    fixed = fixed_names(dialect, schema)
    entries = "\n  UNION ALL\n  ".join(
        f"SELECT {literal(job)} AS job, reason_code, column_name, valid_from, attempts"  # noqa: S608 - quoted names
        f" FROM {dialect.quoted(*layout.quarantine)}"
        for job, layout in jobs
    )
    columns = "job, error_type AS reason_code, error_type AS column_name, started_at AS valid_from, 0 AS attempts"
    nothing = f"SELECT {columns} FROM {fixed['scoring_runs']} WHERE false"  # noqa: S608 - quoted names
    names = {**fixed, "entries": entries or nothing}
    return [statement for view in SHARED for statement in _statements(view, dialect, names)]


def job_sql(
    dialect: Dialect, layout: PredictionsLayout, positive_label: str | None, schema: str | None = None
) -> list[str]:
    """The statements that create or replace the views of one predictions table; ``schema`` as in ``shared_sql``."""
    names = fixed_names(dialect, schema) | _names(dialect, layout, positive_label)
    is_bounded = layout.kind in ("binary", "multiclass")
    found: list[str] = []
    for view in ("current", "history", "as_of", "daily", "distribution", "agreement"):
        has_own = view == "daily" and not is_bounded and _text(f"daily_regression.{dialect.templates}.sql")
        found += _statements("daily_regression" if has_own else view, dialect, names)
    return found


def gone_sql(
    dialect: Dialect, layout: PredictionsLayout, source: str, schemas: Sequence[str] = ("public",)
) -> list[str]:
    """The statements that create or replace the function ``gone``, where the database has functions.

    ``source`` is the query for the keys of the source. The function is a SECURITY DEFINER function, so its search path
    is ``schemas`` and never that of the caller.
    """
    names = {
        **{name: dialect.quoted(*view_name(layout, name)) for name in ("current", "gone")},
        "search_path": ", ".join([*(dialect.quoted(schema) for schema in schemas), "pg_temp"]),
        "source_keys": source,
        "same_key": same_key(dialect, layout, "s", "c"),
    }
    statements = _parts(
        _text(f"gone.{dialect.templates}.sql")
    )  # split before the condition is inserted, which may contain a semicolon
    names["tag"] = unused_tag("gone", names.values())
    return [Template(statement).substitute(names) for statement in statements]


def unused_tag(tag: str, texts: Iterable[str]) -> str:
    """A tag for a dollar-quoted body that contains these texts, which may contain any other."""
    texts = list(texts)
    while any(f"${tag}$" in text for text in texts):
        tag += "_"
    return tag


def source_keys(dialect: Dialect, source: Source, place: TableName) -> str:
    """The query for the keys of a job's source, which is in ``place``."""
    keys = ", ".join(dialect.quoted(name) for name in source.key)
    query = f"SELECT {keys} FROM {dialect.quoted(*place)}"  # noqa: S608 - quoted names
    # the condition is on its own lines: it may end in a comment
    return query if source.where is None else f"{query} WHERE (\n{source.where}\n)"


def same_key(dialect: Dialect, layout: PredictionsLayout, one: str, other: str) -> str:
    """The condition that two aliases stand for the same key."""
    columns = [dialect.quoted(name) for name in layout.key_names]
    return " AND ".join(f"{one}.{column} = {other}.{column}" for column in columns)


def _names(dialect: Dialect, layout: PredictionsLayout, positive_label: str | None) -> dict[str, str]:
    views = {view: dialect.quoted(*view_name(layout, view)) for view in (*PER_JOB, "as_of")}
    predictions = dialect.quoted(*layout.table)
    label = literal(positive_label) if positive_label is not None else "NULL"

    def comments(view: str) -> str:
        return "\n".join(
            f"COMMENT ON COLUMN {view}.{dialect.quoted(name)} IS 'Key of the source row';" for name in layout.key_names
        )

    expressions = EXPRESSIONS[dialect.templates]
    none = expressions.integer.format("NULL")
    count, share = expressions.positive_count.format(label=label), expressions.positive_share.format(label=label)
    ordinary_count = expressions.ordinary_positive_count.format(label=label)
    span = f"SELECT {expressions.double.format('0.0')} AS low, {expressions.double.format('1.0')} AS high"
    if layout.kind not in ("binary", "multiclass"):
        span = "SELECT min(score) AS low, max(score) AS high FROM current"
    return {
        **views,
        "predictions": predictions,
        "all_predictions": _all_predictions(dialect, layout),
        "keys": ",\n  ".join(f"p.{dialect.quoted(name)}" for name in layout.key_names),
        "key_comments": comments(views["current"]),
        "history_key_comments": comments(views["history"]),
        "score_comment": SCORE_COMMENTS[layout.kind],
        "positive_label": label,
        "positive_count": none if positive_label is None else count,
        "positive_share": expressions.double.format("NULL") if positive_label is None else share,
        "ordinary_positive_count": none if positive_label is None else ordinary_count,
        "quarantine": dialect.quoted(*layout.quarantine),
        "challengers": dialect.quoted(*layout.challengers),
        "challenger_of_key": same_key(dialect, layout, "c", "p"),
        "quarantine_of_key": same_key(dialect, layout, "q", "p"),
        "span": span,
        "daily_comments": Template(_text("daily_comments.sql")).substitute(views),
    }


def _all_predictions(dialect: Dialect, layout: PredictionsLayout) -> str:
    """Current and superseded predictions, with ``valid_to``."""
    columns = ", ".join(dialect.quoted(column.name) for column in layout.predictions_table.columns)
    forever = EXPRESSIONS[dialect.templates].forever
    return (
        f"(\n    SELECT {columns}, {forever} AS valid_to FROM {dialect.quoted(*layout.table)}"  # noqa: S608 - quoted names
        f"\n    UNION ALL\n    SELECT {columns}, valid_to FROM {dialect.quoted(*layout.superseded)}\n  )"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Described:
    """A documented view or function, with its columns in order and the meaning of each."""

    name: str
    meaning: str
    columns: Sequence[tuple[str, str]]


def dictionary(layouts: Sequence[tuple[str, PredictionsLayout]]) -> list[Described]:
    """The data dictionary: the comments of the views, in the order of their creation."""
    dialect = dialect_named("postgresql")
    statements = shared_sql(dialect, layouts)
    for _, layout in layouts:
        statements += job_sql(dialect, layout, None)
        statements += gone_sql(dialect, layout, "")
    found: dict[str, Described] = {}
    for statement in statements:
        match = _COMMENT.fullmatch(statement)
        if match is None:
            continue
        meaning = match["meaning"].replace("''", "'")
        if match["kind"] == "COLUMN":
            *view, column = _NAME_PART.findall(match["name"])
            described = found[_plain(".".join(view))]
            found[described.name] = Described(
                name=described.name,
                meaning=described.meaning,
                columns=[*described.columns, (_plain(column), meaning)],
            )
        else:
            name = _plain(match["name"])
            found[name] = Described(name=name, meaning=meaning, columns=[])
    return list(found.values())


def markdown(described: Iterable[Described]) -> str:
    """The data dictionary as Markdown."""
    parts = []
    for one in described:
        lines = [f"### `{one.name}`", "", f"{one.meaning}.", ""]
        if one.columns:
            lines += ["| column | means |", "| --- | --- |"]
            lines += [f"| `{column}` | {meaning} |" for column, meaning in one.columns]
            lines.append("")
        parts.append("\n".join(lines))
    return "\n".join(parts)


_COMMENT = re.compile(
    r"COMMENT ON (?P<kind>VIEW|COLUMN|FUNCTION) (?P<name>.+?) IS '(?P<meaning>(?:[^']|'')*)'", re.DOTALL
)


_NAME_PART = re.compile(r'"(?:[^"]|"")+"|[^".]+')


def _plain(name: str) -> str:
    return _QUOTED.sub(lambda quoted: quoted[1].replace('""', '"'), name)


_QUOTED = re.compile(r'"((?:[^"]|"")+)"')


def _statements(view: str, dialect: Dialect, names: dict[str, str]) -> list[str]:
    text = _text(f"{view}.{dialect.templates}.sql")
    if not text:
        return []
    return _parts(Template(text).substitute(names))


def _parts(text: str) -> list[str]:
    return [part.strip() for part in re.split(r";\s*$", text, flags=re.MULTILINE) if part.strip()]


def _text(name: str) -> str:
    file = resource("sql") / "views" / name
    return file.read_text(encoding="utf-8") if file.is_file() else ""
