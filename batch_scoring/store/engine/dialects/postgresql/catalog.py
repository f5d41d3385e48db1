"""Read the columns and indexes of a table from PostgreSQL's catalog, and whether row-level security hides rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from batch_scoring.domain.column_types import Family
from batch_scoring.domain.names import TableName
from batch_scoring.store.engine.catalog import Index, Relation, Structure
from batch_scoring.store.engine.columns import Casting, SourceColumn

NAMED = (
    """(n.nspname = :schema OR (CAST(:schema AS text) IS NULL AND pg_table_is_visible(c.oid))) AND c.relname = :name"""
)
"""Condition of PostgreSQL on ``pg_class c`` and ``pg_namespace n``: the table that SQLAlchemy finds by that name."""


SCHEMAS = """
    WITH schemas AS (
      SELECT p.position, n.oid, n.nspname::text AS name, n.nspowner, n.nspacl
      FROM pg_catalog.unnest(pg_catalog.current_schemas(false)) WITH ORDINALITY AS p(name, position)
      JOIN pg_catalog.pg_namespace AS n ON n.nspname = p.name
    )
    SELECT
      coalesce(
        (SELECT s.name FROM schemas AS s
         JOIN pg_catalog.pg_class AS c ON c.relnamespace = s.oid AND c.relname = 'scoring_runs'::pg_catalog.name
         ORDER BY s.position LIMIT 1),
        pg_catalog.current_schema()::text
      ),
      ARRAY(SELECT s.name FROM schemas AS s ORDER BY s.position),
      ARRAY(
        SELECT s.name FROM schemas AS s
        WHERE NOT EXISTS (
          SELECT 1
          FROM pg_catalog.aclexplode(
            coalesce(s.nspacl, pg_catalog.acldefault('n'::pg_catalog."char", s.nspowner))
          ) AS a
          LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = a.grantee
          WHERE a.privilege_type = 'CREATE'::text AND a.grantee <> s.nspowner
            AND NOT coalesce(r.rolsuper OR r.rolname = session_user, false)
        )
        ORDER BY s.position
      )
"""
"""The schema of this package's tables, the search path of the session, and those of it in which only owners, superusers
and the session's own login may create objects. Every function and operator is one of the system by its exact types."""

LOCATED = sa.text(
    """
    SELECT CAST(n.nspname AS text)
    FROM unnest(CAST(:path AS text[])) WITH ORDINALITY AS p(name, position)
    JOIN pg_namespace n ON n.nspname = CAST(p.name AS name)
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = CAST(:name AS name)
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
    ORDER BY p.position LIMIT 1
    """
)

_RELATIONS = {"v": Relation.VIEW, "m": Relation.MATERIALIZED_VIEW, "f": Relation.FOREIGN_TABLE}

_RELATION = sa.text(
    f"""
    SELECT c.oid, CAST(c.relkind AS text),
      ARRAY(SELECT CAST(CAST(i.inhrelid AS regclass) AS text) FROM pg_inherits i
            WHERE i.inhparent = c.oid AND c.relkind <> 'p' ORDER BY 1),
      ARRAY(SELECT CAST(a.attname AS text) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnotnull),
      ARRAY(SELECT CAST(a.attname AS text) FROM pg_attribute a JOIN pg_constraint o ON o.conrelid = a.attrelid
              AND o.contype = 'n' AND o.conkey = ARRAY[a.attnum]
            WHERE a.attrelid = c.oid
              AND NOT (o.convalidated AND coalesce(to_jsonb(o) ->> 'conenforced', 'true') = 'true'))
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE {NAMED} AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    """  # noqa: S608 - a constant of this module
)

_INDEXES = sa.text(
    """
    SELECT CAST(i.relname AS text) AS name, x.indisprimary AS is_primary, x.indisunique AS is_unique,
      x.indisvalid AND x.indisready AND x.indislive AS is_valid, x.indimmediate AS is_immediate,
      x.indpred IS NOT NULL AS is_partial, x.indisexclusion AS is_exclusion,
      ARRAY(SELECT CAST(a.attname AS text) FROM generate_series(0, x.indnkeyatts - 1) k
            LEFT JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = x.indkey[k] ORDER BY k) AS columns,
      NOT EXISTS (SELECT FROM generate_series(0, x.indnkeyatts - 1) k
                  JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = x.indkey[k]
                  JOIN pg_collation o ON o.oid = a.attcollation
                  WHERE a.attcollation <> x.indcollation[k] AND NOT o.collisdeterministic) AS keeps_equality,
      m.amname = 'btree' AND NOT EXISTS (SELECT FROM generate_series(0, x.indnkeyatts - 1) k
                  JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = x.indkey[k]
                  WHERE a.attcollation <> x.indcollation[k]) AS keeps_order
    FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_am m ON m.oid = i.relam
    WHERE x.indrelid = :oid ORDER BY NOT x.indisprimary, i.relname
    """
)


def structure(connection: sa.Connection, table: TableName) -> Structure:
    found = connection.execute(_RELATION, {"name": table.name, "schema": table.schema}).first()
    if found is None:
        return Structure(relation=Relation.VIEW)
    oid, kind, children, not_null, not_valid = found
    indexes = [
        Index(**{**row._asdict(), "columns": tuple(row.columns)}) for row in connection.execute(_INDEXES, {"oid": oid})
    ]
    return Structure(
        relation=_RELATIONS.get(kind, Relation.TABLE),
        indexes=tuple(indexes),
        children=tuple(children),
        not_null=frozenset(not_null) - frozenset(not_valid),
        not_null_not_valid=frozenset(not_valid),
    )


_TYPES = sa.text(
    f"""
    WITH RECURSIVE under (attname, declared, type, typmod, is_domain) AS (
      SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.atttypid, a.atttypmod, false
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
      WHERE {NAMED} AND a.attnum > 0 AND NOT a.attisdropped
      UNION ALL
      SELECT u.attname, u.declared, t.typbasetype, t.typtypmod, true
      FROM under u JOIN pg_type t ON t.oid = u.type WHERE t.typtype = 'd'
    )
    SELECT CAST(u.attname AS text) AS name, u.declared, u.is_domain, u.typmod,
      CAST(t.typname AS text), t.typcategory = 'A' AS is_array, CAST(t.typtype AS text),
      t.typtype = 'b' AND t.typcategory = 'S' AS is_text
    FROM under u JOIN pg_type t ON t.oid = u.type WHERE t.typtype <> 'd'
    """  # noqa: S608 - constants of this package
)

_KINDS = {"c": "composite", "e": "enum", "r": "range", "m": "range"}


def _base(row: Any) -> str:
    if row.is_array:
        return "array"
    kind = _KINDS.get(row.typtype, row.typname)
    return "range of times" if kind == "range" and row.typname.startswith(("ts", "date")) else kind


_BY_BASE: Mapping[str, Family] = {
    "bool": Family.BOOLEAN,
    **dict.fromkeys(("int2", "int4", "int8", "oid"), Family.INTEGER),
    **dict.fromkeys(("float4", "float8", "numeric"), Family.NUMBER),
    **dict.fromkeys(("timestamp", "timestamptz"), Family.TIMESTAMP),
    "date": Family.DATE,
    **dict.fromkeys(("uuid", "enum", "char"), Family.TEXT),
}


def columns(connection: sa.Connection, table: TableName, reflected: Any, dialect: Casting) -> dict[str, SourceColumn]:
    types = {row.name: row for row in connection.execute(_TYPES, {"name": table.name, "schema": table.schema})}
    found = {}
    for column in reflected:
        name, declared, row = column["name"], column["type"], types[column["name"]]
        base = _base(row)
        # the tables of jobs were created with the type names of SQLAlchemy
        is_its_own = row.is_domain or isinstance(declared, sa.types.NullType)
        is_its_own |= base == "char" or (base == "bpchar" and row.typmod < 0)
        found[name] = SourceColumn(
            name=name,
            ddl=row.declared if is_its_own else declared.compile(dialect=connection.dialect),
            family=Family.TEXT if row.is_text else _BY_BASE.get(base, Family.OTHER),
            nullable=column["nullable"],
            base=base,
            dialect=dialect,
        )
    return found


_HIDING = sa.text(
    """
    SELECT row_security_active(c.oid)
       AND (NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polpermissive
                          AND p.polcmd IN ('r', '*') AND pg_get_expr(p.polqual, p.polrelid) = 'true'
                          AND (p.polroles = '{0}' OR EXISTS (
                                SELECT FROM unnest(p.polroles) AS r(oid) WHERE r.oid <> 0
                                  AND pg_has_role(r.oid, 'USAGE'))))
         OR EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND NOT p.polpermissive
                      AND p.polcmd IN ('r', '*') AND pg_get_expr(p.polqual, p.polrelid) <> 'true'
                      AND (p.polroles = '{0}' OR EXISTS (
                            SELECT FROM unnest(p.polroles) AS r(oid) WHERE r.oid <> 0
                              AND pg_has_role(r.oid, 'USAGE')))))
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relname = :name
      AND (n.nspname = :schema OR (CAST(:schema AS text) IS NULL AND pg_table_is_visible(c.oid)))
    """
)


def hides_rows(connection: sa.Connection, table: TableName) -> bool:
    """Whether row-level security may hide rows of a table from this user: a policy applies that is not ``true``."""
    found = connection.execute(_HIDING, {"name": table.name, "schema": table.schema}).scalar_one_or_none()
    return bool(found)
