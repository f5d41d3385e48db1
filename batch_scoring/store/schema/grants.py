"""What is wrong with the roles and privileges of a live PostgreSQL database."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from batch_scoring.store.engine.database import Database
from batch_scoring.store.engine.names import driver_sql, quoted, schemas_of
from batch_scoring.store.schema.roles import ROLES

_ROLES = sa.text(
    """
    SELECT r.rolname AS role,
      r.rolcanlogin AS can_log_in,
      r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication OR r.rolbypassrls AS is_special,
      EXISTS (SELECT 1 FROM pg_class c WHERE c.relowner = r.oid) AS is_owner,
      ARRAY(
        SELECT CAST(g.rolname AS text) FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = r.oid
      ) AS member_of
    FROM pg_roles r WHERE r.rolname = ANY (:roles) ORDER BY r.rolname
    """
)

_GRANTS = sa.text(
    """
    WITH own AS (SELECT oid, nspname, nspacl, nspowner FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema)'),
    acls AS (
      SELECT c.oid::regclass::text AS object, c.relacl AS acl FROM pg_class c JOIN own n ON n.oid = c.relnamespace
      UNION ALL
      SELECT CAST(a.attrelid AS regclass)::text || ' (' || a.attname || ')', a.attacl
      FROM pg_attribute a WHERE a.attacl IS NOT NULL
      UNION ALL
      SELECT 'function ' || CAST(p.oid AS regprocedure)::text, coalesce(p.proacl, acldefault('f', p.proowner))
      FROM pg_proc p JOIN own n ON n.oid = p.pronamespace
      UNION ALL
      SELECT 'schema ' || n.nspname, coalesce(n.nspacl, acldefault('n', n.nspowner)) FROM own n
    )
    SELECT acls.object, g.privilege_type,
      CASE WHEN g.grantee = 0 THEN 'PUBLIC' ELSE CAST(CAST(g.grantee AS regrole) AS text) END AS grantee
    FROM acls, aclexplode(acls.acl) g
    WHERE g.grantee = 0 OR g.grantee IN (SELECT oid FROM pg_roles WHERE rolname = ANY (:roles))
    """
)


class _UndoneError(Exception):
    """Ends a transaction of which nothing is kept."""


def open_schemas(connection: sa.Connection) -> list[str]:
    """The schemas of the search path in which others than their owners may create objects.

    Whoever can, could make others run code (CVE-2018-1058), so nothing but the tables of such a schema is used.
    """
    schemas = schemas_of(connection)
    return [] if schemas is None else [name for name in schemas.path if name not in schemas.trusted]


def role_problems(connection: sa.Connection) -> Iterator[str]:
    """What the roles of this package can do that they should not, where they exist."""
    for role in connection.execute(_ROLES, {"roles": list(ROLES)}):
        if role.can_log_in:
            yield f"role {role.role} can log in: rename it, and grant the role to logins"
        if role.is_special:
            yield f"role {role.role} is a superuser or has another special attribute: take it away"
        if role.is_owner:
            yield f"role {role.role} owns tables of this database: give them to another owner"
        for other in role.member_of:
            yield f"role {role.role} is a member of {other} and can do all that it can: apply `db roles` again"


def verify(database: Database, script: str) -> list[str]:
    """What differs from the privileges that a script of roles_sql grants.

    The script is applied in a transaction that is undone. Raises AccessDenied for users who could not apply it,
    DatabaseFault.
    """
    with database.read() as connection:
        problems = [
            *role_problems(connection),
            *(
                f"others than its owner may create objects in schema {schema}:"
                f" REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC"
                for schema in open_schemas(connection)
            ),
        ]
        existing = {role.role for role in connection.execute(_ROLES, {"roles": list(ROLES)})}
    problems += [f"role {role} does not exist: apply `db roles`" for role in ROLES if role not in existing]
    if problems:
        return problems
    missing: list[str] = []
    extra: list[str] = []
    try:
        with database.write() as connection:
            before = _grants(connection)
            _apply(connection, script)
            after = _grants(connection)
            missing = [f"{who} lacks {what} on {on}" for on, what, who in sorted(after - before)]
            extra = [f"{who} has {what} on {on}, which it does not need" for on, what, who in sorted(before - after)]
            raise _UndoneError
    except _UndoneError:
        return [*extra, *missing]


def _apply(connection: sa.Connection, script: str) -> None:
    """Execute a script that names tables without their schema, and restore the search path."""
    schemas = schemas_of(connection)
    assert schemas is not None
    before = connection.execute(sa.select(sa.func.current_setting("search_path"))).scalar_one()
    connection.exec_driver_sql(f"SET LOCAL search_path = {quoted(connection.dialect, schemas.own)}, pg_temp")
    connection.exec_driver_sql(driver_sql(connection.dialect, script))
    connection.execute(sa.select(sa.func.set_config("search_path", before, sa.true())))


def _grants(connection: sa.Connection) -> set[tuple[str, str, str]]:
    return {
        (row.object, row.privilege_type, row.grantee) for row in connection.execute(_GRANTS, {"roles": list(ROLES)})
    }
