"""SQL expressions for PostgreSQL that convert a column to a type that models take. ``{}`` stands for the column."""

from __future__ import annotations

from collections.abc import Mapping

from batch_scoring.store.engine.dialects.dialect import Casts

_EPOCH = {"number": "EXTRACT(epoch FROM {})", "text": "{}::text"}
_DIGITS = {"number": "{}::text::bigint", "text": "{}::text"}

_JSON = {
    "number": "({}->>'field')::numeric",
    "boolean": "({}->>'field')::boolean",
    "timestamp": "({}->>'field')::timestamp",
    "text": "{}->>'field'",
}

BY_BASE: Mapping[str, Casts] = {
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

BY_FAMILY: Mapping[str, Casts] = {
    "integer": {"boolean": "{} <> 0", "timestamp": "to_timestamp({})", "text": "{}::text"},
    "number": {"boolean": "{} <> 0", "timestamp": "to_timestamp({})", "text": "{}::text"},
    "boolean": {"text": "{}::text"},
    "text": {"number": "{}::numeric", "boolean": "{}::boolean", "timestamp": "{}::timestamp", "text": "{}"},
    "date": _EPOCH,
    "timestamp": _EPOCH,
    "other": {"text": "{}::text"},
}
