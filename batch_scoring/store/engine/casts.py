"""The casts by which a view brings a column to a type that models take. ``{}`` stands for the column."""

from __future__ import annotations

import re
from collections.abc import Mapping

import sqlalchemy as sa

_UNQUOTED = re.compile(r"[a-z_][a-z0-9_]*")

Casts = Mapping[str, str]
"""By what the model takes (integer, number, boolean, text, timestamp). An integer may be read as a number; the text is
for every other kind."""


def cast_in_view(dialect: str, base: str, family: str, kind: str, name: str) -> str:
    """The expression that makes a column of a base type and family what a model takes.

    Where there is none of that kind, it is one of text, for a model that was trained on text.
    """
    by_type, by_family = _CASTS.get(dialect, _CASTS["postgresql"])
    casts = by_type.get(base) or by_family.get(family) or by_family["other"]
    template = casts.get(kind) or (casts.get("number") if kind == "integer" else None) or casts["text"]
    return template.replace("{}", as_identifier(name, dialect))


def as_identifier(name: str, dialect: str) -> str:
    """A name as people write it in SQL: in quotes only where it needs them."""
    if _UNQUOTED.fullmatch(name) and name not in sa.dialects.registry.load(dialect).preparer.reserved_words:
        return name
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


_EPOCH = {"number": "EXTRACT(epoch FROM {})", "text": "{}::text"}
_DIGITS = {"number": "{}::text::bigint", "text": "{}::text"}

_JSON = {
    "number": "({}->>'field')::numeric",
    "boolean": "({}->>'field')::boolean",
    "timestamp": "({}->>'field')::timestamp",
    "text": "{}->>'field'",
}

_POSTGRESQL: Mapping[str, Casts] = {
    "money": {"number": "{}::numeric", "text": "{}::numeric::text"},
    "interval": _EPOCH,
    "time": _EPOCH,
    "timetz": _EPOCH,
    "bit": {"number": "{}::bigint", "text": "{}::text"},
    "varbit": {"number": "bit_count({})", "text": "{}::text"},
    "json": _JSON,
    "jsonb": _JSON,
    "hstore": {"number": "({}->'key')::numeric", "text": "{}->'key'"},
    "xml": {"number": "{}::text::numeric", "text": "{}::text"},
    "bytea": {"number": "length({})", "text": "encode({}, 'hex')"},
    "array": {"number": "cardinality({})", "text": "array_to_string({}, ',')"},
    "composite": {"number": "({}).field", "timestamp": "({}).field", "text": "({}).field::text"},
    "range": {"number": "lower({})", "text": "{}::text"},
    "range of times": {"number": "EXTRACT(epoch FROM lower({}))", "timestamp": "lower({})", "text": "{}::text"},
    "point": {"number": "{}[0]", "text": "{}::text"},
    "box": {"number": "area({})", "text": "{}::text"},
    "circle": {"number": "radius({})", "text": "{}::text"},
    "lseg": {"number": "length({})", "text": "{}::text"},
    "path": {"number": "length({})", "text": "{}::text"},
    "polygon": {"number": "npoints({})", "text": "{}::text"},
    "tsvector": {"number": "length({})", "text": "{}::text"},
    "tsquery": {"number": "numnode({})", "text": "{}::text"},
    "pg_lsn": {"number": "{} - '0/0'::pg_lsn", "text": "{}::text"},
    "xid": _DIGITS,
    "cid": _DIGITS,
    "xid8": _DIGITS,
    "inet": {"number": "masklen({})", "text": "{}::text"},
    "cidr": {"number": "masklen({})", "text": "{}::text"},
    **{
        f"reg{what}": {"number": "{}::oid::bigint", "text": "{}::text"}
        for what in (
            *("class", "collation", "config", "dictionary", "namespace"),
            *("oper", "operator", "proc", "procedure", "role", "type"),
        )
    },
}

_POSTGRESQL_FAMILIES: Mapping[str, Casts] = {
    "integer": {"boolean": "{} <> 0", "timestamp": "to_timestamp({})", "text": "{}::text"},
    "number": {"boolean": "{} <> 0", "timestamp": "to_timestamp({})", "text": "{}::text"},
    "boolean": {"text": "{}::text"},
    "text": {"number": "{}::numeric", "boolean": "{}::boolean", "timestamp": "{}::timestamp", "text": "{}"},
    "date": _EPOCH,
    "timestamp": _EPOCH,
    "other": {"text": "{}::text"},
}

_AS_TEXT = "CAST({} AS TEXT)"
_SECONDS = {"number": "CAST(strftime('%s', {}) AS INTEGER)", "timestamp": "datetime({})", "text": _AS_TEXT}

_SQLITE: Mapping[str, Casts] = {
    "JSON": {"timestamp": "datetime(json_extract({}, '$.field'))", "text": "json_extract({}, '$.field')"}
    | {"number": "CAST(json_extract({}, '$.field') AS REAL)", "boolean": "json_extract({}, '$.field')"},
    "TIME": _SECONDS,
    "BLOB": {"number": "length({})", "text": "hex({})"},
}

_SQLITE_FAMILIES: Mapping[str, Casts] = {
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

_CASTS = {"postgresql": (_POSTGRESQL, _POSTGRESQL_FAMILIES), "sqlite": (_SQLITE, _SQLITE_FAMILIES)}
