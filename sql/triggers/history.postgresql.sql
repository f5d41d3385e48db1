-- The old form of a row of ${current} that is superseded is appended to ${past} by the database itself.
CREATE OR REPLACE FUNCTION ${supersede}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ${search_path}
AS $$${tag}$$
DECLARE
  first_start timestamptz;
  last_start timestamptz;
  last_old_start timestamptz;
BEGIN
  SELECT min(n.valid_from), max(n.valid_from) INTO first_start, last_start FROM new_rows AS n;
  SELECT max(o.valid_from) INTO last_old_start FROM old_rows AS o;
  IF first_start <> last_start OR first_start <= last_old_start THEN
    RAISE EXCEPTION 'a row is superseded by one that starts later: set valid_from to one time after that of every row'
      USING ERRCODE = 'object_not_in_prerequisite_state', TABLE = TG_TABLE_NAME;
  END IF;
  -- a current row becomes history now, and not in a past that nobody can check; the owner of the tables is not bound
  IF NOT (first_start BETWEEN now() - interval '1 minute' AND greatest(clock_timestamp(), last_old_start) + interval '1 minute')
    AND NOT (SELECT pg_has_role(session_user, c.relowner, 'USAGE') FROM pg_catalog.pg_class AS c WHERE c.oid = TG_RELID)
  THEN
    RAISE EXCEPTION 'a row is superseded by one that starts now'
      USING ERRCODE = 'object_not_in_prerequisite_state', TABLE = TG_TABLE_NAME;
  END IF;
  INSERT INTO ${past} (${columns}, valid_to) SELECT ${columns}, first_start FROM old_rows;
  RETURN NULL;
END
$$${tag}$$;

REVOKE ALL ON FUNCTION ${supersede}() FROM PUBLIC;

CREATE OR REPLACE TRIGGER supersede AFTER UPDATE ON ${current}
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION ${supersede}();

CREATE OR REPLACE TRIGGER preserve_keys BEFORE UPDATE OF ${keys} ON ${current}
FOR EACH STATEMENT EXECUTE FUNCTION ${preserve}('current');

CREATE OR REPLACE TRIGGER preserve BEFORE UPDATE OR DELETE OR TRUNCATE ON ${past}
FOR EACH STATEMENT EXECUTE FUNCTION ${preserve}('history');

CREATE OR REPLACE TRIGGER held AFTER DELETE ON ${past}
REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION ${held}();
