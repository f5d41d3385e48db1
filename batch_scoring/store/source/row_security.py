"""Row-level security: policies of PostgreSQL that hide rows from whoever scores them."""

from __future__ import annotations

import sqlalchemy as sa

from batch_scoring.domain.names import TableName

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
    if connection.dialect.name != "postgresql":
        return False
    found = connection.execute(_HIDING, {"name": table.name, "schema": table.schema}).scalar_one_or_none()
    return bool(found)
