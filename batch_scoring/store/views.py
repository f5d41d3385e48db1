"""The views BI reads: templates under ``sql/views``, one file per dialect where dialects differ."""

from __future__ import annotations

import re
from string import Template

import sqlalchemy as sa

from batch_scoring.resources import resource
from batch_scoring.store.database import quoted
from batch_scoring.store.schema import SCORE_COMMENTS, PredictionsLayout


def run_history_sql(dialect: sa.Dialect) -> list[str]:
    """The statements that make or renew ``run_history``; none for a dialect without a file."""
    return _statements("run_history", dialect, {})


def current_sql(dialect: sa.Dialect, layout: PredictionsLayout) -> list[str]:
    """The statements that make or renew ``<predictions>_current``."""
    current = quoted(dialect, *layout.current)
    return _statements(
        "current",
        dialect,
        {
            "current": current,
            "predictions": quoted(dialect, *layout.table),
            "keys": ",\n  ".join(f"p.{quoted(dialect, name)}" for name in layout.key_names),
            "key_comments": "\n".join(
                f"COMMENT ON COLUMN {current}.{quoted(dialect, name)} IS 'Key of the source row';"
                for name in layout.key_names
            ),
            "score_comment": SCORE_COMMENTS[layout.kind],
        },
    )


def _statements(view: str, dialect: sa.Dialect, names: dict[str, str]) -> list[str]:
    file = resource("sql") / "views" / f"{view}.{dialect.name}.sql"
    if not file.is_file():
        return []
    text = Template(file.read_text(encoding="utf-8")).substitute(names)
    return [part.strip() for part in re.split(r";\s*$", text, flags=re.MULTILINE) if part.strip()]
