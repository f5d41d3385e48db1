"""Change the type of source_changed_at in a job's tables that hold no versions yet."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from batch_scoring.domain.names import TableName
from batch_scoring.store.engine.dialects.registered import dialect_of
from batch_scoring.store.engine.names import NamedTable, driver_sql, exactly
from batch_scoring.store.schema.layout import PredictionsLayout
from batch_scoring.store.schema.tables import scoring_jobs
from batch_scoring.store.schema.triggers import drop_triggers_sql
from batch_scoring.store.schema.views import FUNCTIONS, PER_JOB, view_name

_COLUMN = "source_changed_at"


def holds_versions(connection: sa.Connection, layout: PredictionsLayout) -> bool:
    """Whether some prediction or quarantine entry records a version of its source row."""
    for name in _versioned(layout):
        column: sa.ColumnClause[object] = sa.column(_COLUMN)
        table = NamedTable(exactly(name.name), column, schema=exactly(name.schema))
        found = sa.select(sa.literal(1)).select_from(table).where(column.is_not(None)).limit(1)
        if connection.execute(found).first() is not None:
            return True
    return False


def _versioned(layout: PredictionsLayout) -> tuple[TableName, ...]:
    return (layout.table, layout.superseded, layout.quarantine, layout.quarantine_closed)


def retype_versions(
    connection: sa.Connection, layout: PredictionsLayout, own: PredictionsLayout, dependent: Iterable[str]
) -> None:
    """Change the type of an empty source_changed_at in the current transaction, and create triggers and views again.

    ``own`` is the layout with the schema of its tables. Privileges on the views are granted again.
    """
    dialect = dialect_of(connection)
    names = [dialect.quoted(*view_name(own, view)) for view in reversed(PER_JOB)]
    functions = [f"{dialect.quoted(*view_name(own, name))}({types})" for name, types in FUNCTIONS.items()]
    grants = _grants(connection, names, functions) if dialect.has_roles else []
    if dialect.has_functions:
        execute(connection, [f"DROP FUNCTION IF EXISTS {function}" for function in functions])
    execute(connection, [f"DROP VIEW IF EXISTS {name}" for name in names])
    ddl = layout.changed_at_type
    execute(connection, drop_triggers_sql(dialect, own))
    for table in (dialect.quoted(*name) for name in _versioned(own)):
        if dialect.changes_column_types:
            execute(connection, [f"ALTER TABLE {table} ALTER COLUMN {_COLUMN} TYPE {ddl} USING NULL"])
        else:
            execute(connection, [f"ALTER TABLE {table} DROP COLUMN {_COLUMN}"])
            execute(connection, [f"ALTER TABLE {table} ADD COLUMN {_COLUMN} {ddl}"])
    connection.execute(
        sa.update(scoring_jobs)
        .where(scoring_jobs.c.predictions_table == str(layout.table))
        .values(changed_at_type=layout.changed_at_type)
    )
    execute(connection, [*dependent, *grants])


_GRANTS_ON_VIEWS = sa.text(
    """
    SELECT format('GRANT %s ON %s TO %s%s', a.privilege_type, CAST(c.oid AS regclass),
      CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE CAST(CAST(a.grantee AS regrole) AS text) END,
      CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
    FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a
    WHERE c.oid = CAST(to_regclass(:name) AS oid) AND a.grantee <> c.relowner
    """
)

_GRANTS_ON_FUNCTION = sa.text(
    """
    SELECT format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', CAST(p.oid AS regprocedure))
    FROM pg_proc p WHERE p.oid = CAST(to_regprocedure(:name) AS oid) AND p.proacl IS NOT NULL
    UNION ALL
    SELECT format('GRANT %s ON FUNCTION %s TO %s', a.privilege_type, CAST(p.oid AS regprocedure),
      CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE CAST(CAST(a.grantee AS regrole) AS text) END)
    FROM pg_proc p CROSS JOIN LATERAL aclexplode(p.proacl) a
    WHERE p.oid = CAST(to_regprocedure(:name) AS oid) AND a.grantee <> p.proowner
    """
)


def _grants(connection: sa.Connection, views: Iterable[str], functions: Iterable[str]) -> list[str]:
    return [
        *(grant for name in views for grant in connection.execute(_GRANTS_ON_VIEWS, {"name": name}).scalars()),
        *(grant for name in functions for grant in connection.execute(_GRANTS_ON_FUNCTION, {"name": name}).scalars()),
    ]


def execute(connection: sa.Connection, statements: Iterable[str]) -> None:
    """Execute statements without parameters."""
    for statement in statements:
        connection.exec_driver_sql(driver_sql(connection.dialect, statement))
