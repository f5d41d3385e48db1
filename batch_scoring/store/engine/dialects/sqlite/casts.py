"""SQL expressions for SQLite that convert a column to a type that models take. ``{}`` stands for the column."""

from __future__ import annotations

from collections.abc import Mapping

from batch_scoring.store.engine.dialects.dialect import Casts

_AS_TEXT = "CAST({} AS TEXT)"
_SECONDS = {"number": "CAST(strftime('%s', {}) AS INTEGER)", "timestamp": "datetime({})", "text": _AS_TEXT}

BY_BASE: Mapping[str, Casts] = {
    "JSON": {"timestamp": "datetime(json_extract({}, '$.field'))", "text": "json_extract({}, '$.field')"}
    | {"number": "CAST(json_extract({}, '$.field') AS REAL)", "boolean": "json_extract({}, '$.field')"},
    "TIME": _SECONDS,
    "BLOB": {"number": "length({})", "text": "hex({})"},
}

BY_FAMILY: Mapping[str, Casts] = {
    "integer": {"boolean": "{} <> 0", "timestamp": "datetime({}, 'unixepoch')", "text": _AS_TEXT},
    "number": {
        "integer": "CAST({} AS INTEGER)",
        "boolean": "{} <> 0",
        "timestamp": "datetime({}, 'unixepoch')",
        "text": _AS_TEXT,
    },
    "boolean": {"text": _AS_TEXT},
    "text": {
        "number": "CAST({} AS REAL)",
        "integer": "CAST({} AS INTEGER)",
        "boolean": "{} = 'true'",
        "timestamp": "datetime({})",
        "text": "{}",
    },
    "date": _SECONDS,
    "timestamp": _SECONDS,
    "other": {"text": _AS_TEXT},
}
