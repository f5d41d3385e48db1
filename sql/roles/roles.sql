-- The roles hold privileges only: nobody logs in as one, so grant them to logins. A role of that name that could do more is
-- not adopted. Whatever the roles had on these objects before is revoked, so the statements can be applied again.
DO $$$$
DECLARE
  wanted text;
BEGIN
  FOREACH wanted IN ARRAY ARRAY[${role_names}] LOOP
    IF NOT EXISTS (SELECT 1 FROM pg_catalog.pg_roles AS r WHERE r.rolname = wanted::name) THEN
      EXECUTE 'CREATE ROLE ' || pg_catalog.quote_ident(wanted) || ' NOLOGIN';
    ELSIF EXISTS (
      SELECT 1 FROM pg_catalog.pg_roles AS r
      WHERE r.rolname = wanted::name
        AND (r.rolcanlogin OR r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication OR r.rolbypassrls)
    ) THEN
      RAISE EXCEPTION USING MESSAGE =
        'role ' || wanted || ' exists and can log in or has special attributes: rename that role, or drop it';
    ELSIF EXISTS (
      SELECT 1 FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_roles AS r ON r.oid = c.relowner WHERE r.rolname = wanted::name
    ) THEN
      RAISE EXCEPTION USING MESSAGE =
        'role ' || wanted || ' exists and owns tables of this database: rename that role, or reassign what it owns';
    END IF;
    IF EXISTS (
      SELECT 1 FROM pg_catalog.pg_auth_members AS m JOIN pg_catalog.pg_roles AS r ON r.oid = m.member
      WHERE r.rolname = wanted::name AND m.roleid <> ALL (ARRAY(
        SELECT s.oid FROM pg_catalog.pg_roles AS s WHERE s.rolname = 'scorer'::name AND wanted = 'operator'
      ))
    ) THEN
      RAISE EXCEPTION USING MESSAGE = 'role ' || wanted || ' exists and is a member of another role: revoke that membership';
    END IF;
  END LOOP;
  -- privileges are granted to operator itself: a member of scorer could SET ROLE scorer
  IF EXISTS (
    SELECT 1 FROM pg_catalog.pg_auth_members AS m
    JOIN pg_catalog.pg_roles AS r ON r.oid = m.member
    JOIN pg_catalog.pg_roles AS s ON s.oid = m.roleid
    WHERE r.rolname = 'operator'::name AND s.rolname = 'scorer'::name
  ) THEN
    REVOKE scorer FROM operator;
  END IF;
END
$$$$;
REVOKE ALL ON ${fixed} FROM ${roles}, PUBLIC;
REVOKE CREATE ON SCHEMA ${schemas} FROM ${roles}, PUBLIC;
-- for each job
REVOKE ALL ON ${of_job} FROM ${roles}, PUBLIC;
REVOKE ALL ON FUNCTION ${as_of}(timestamptz), ${gone}() FROM ${roles}, PUBLIC;
