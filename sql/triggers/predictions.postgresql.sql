-- The old form of a superseded prediction is appended to ${superseded} by the database itself. The function runs with the
-- privileges of its owner, so that no other role needs any on that table.
CREATE OR REPLACE FUNCTION ${supersede}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ${search_path}
AS $$$$
DECLARE
  first_start timestamptz;
  last_start timestamptz;
  last_old_start timestamptz;
BEGIN
  SELECT min(n.valid_from), max(n.valid_from) INTO first_start, last_start FROM new_rows AS n;
  SELECT max(o.valid_from) INTO last_old_start FROM old_rows AS o;
  IF first_start <> last_start OR first_start <= last_old_start THEN
    RAISE EXCEPTION 'a prediction is superseded by one that starts later: set valid_from to one time after that of every row'
      USING ERRCODE = 'object_not_in_prerequisite_state', TABLE = TG_TABLE_NAME;
  END IF;
  INSERT INTO ${superseded} (${columns}, valid_to) SELECT ${columns}, first_start FROM old_rows;
  RETURN NULL;
END
$$$$;

REVOKE ALL ON FUNCTION ${supersede}() FROM PUBLIC;

CREATE OR REPLACE TRIGGER supersede AFTER UPDATE ON ${predictions}
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION ${supersede}();

-- The old form of a quarantine entry that is replaced is appended to ${quarantine_closed} in the same way.
CREATE OR REPLACE FUNCTION ${requarantine}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ${search_path}
AS $$$$
DECLARE
  first_start timestamptz;
  last_start timestamptz;
  last_old_start timestamptz;
BEGIN
  SELECT min(n.valid_from), max(n.valid_from) INTO first_start, last_start FROM new_rows AS n;
  SELECT max(o.valid_from) INTO last_old_start FROM old_rows AS o;
  IF first_start <> last_start OR first_start <= last_old_start THEN
    RAISE EXCEPTION 'an entry is replaced by one that starts later: set valid_from to one time after that of every row'
      USING ERRCODE = 'object_not_in_prerequisite_state', TABLE = TG_TABLE_NAME;
  END IF;
  INSERT INTO ${quarantine_closed} (${entry_columns}, valid_to) SELECT ${entry_columns}, first_start FROM old_rows;
  RETURN NULL;
END
$$$$;

REVOKE ALL ON FUNCTION ${requarantine}() FROM PUBLIC;

CREATE OR REPLACE TRIGGER requarantine AFTER UPDATE ON ${quarantine}
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION ${requarantine}();

-- An open entry is deleted only after it has been copied to ${quarantine_closed}.
CREATE OR REPLACE FUNCTION ${release}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ${search_path}
AS $$$$
BEGIN
  IF EXISTS (
    SELECT 1 FROM old_rows AS o
    WHERE NOT EXISTS (SELECT 1 FROM ${quarantine_closed} AS c WHERE c.valid_from = o.valid_from AND ${same_key})
  ) THEN
    RAISE EXCEPTION 'an open entry is not deleted before it is copied to the closed ones; use batch-scoring quarantine retry'
      USING ERRCODE = 'object_not_in_prerequisite_state', TABLE = TG_TABLE_NAME;
  END IF;
  RETURN NULL;
END
$$$$;

REVOKE ALL ON FUNCTION ${release}() FROM PUBLIC;

CREATE OR REPLACE TRIGGER release AFTER DELETE ON ${quarantine}
REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION ${release}();

-- Nothing else removes or alters what was written: not even the owner of the tables, without disabling the triggers. Rows
-- of history are deleted while a purge is running, which records who deleted how many.
CREATE OR REPLACE FUNCTION ${preserve}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ${search_path}
AS $$$$
BEGIN
  IF TG_OP = 'DELETE' AND TG_ARGV[0] = 'history' AND EXISTS (
    SELECT 1 FROM scoring_runs AS r WHERE r.status = 'running' AND r."trigger" = 'purge'
  ) THEN
    RETURN NULL;
  END IF;
  RAISE EXCEPTION '% of % is refused: predictions and their history are kept as they were written; batch-scoring purge deletes what is old',
    TG_OP, TG_TABLE_NAME USING ERRCODE = 'object_not_in_prerequisite_state', TABLE = TG_TABLE_NAME;
END
$$$$;

REVOKE ALL ON FUNCTION ${preserve}() FROM PUBLIC;

CREATE OR REPLACE TRIGGER preserve BEFORE DELETE OR TRUNCATE ON ${predictions}
FOR EACH STATEMENT EXECUTE FUNCTION ${preserve}('current');

CREATE OR REPLACE TRIGGER preserve_keys BEFORE UPDATE OF ${keys} ON ${predictions}
FOR EACH STATEMENT EXECUTE FUNCTION ${preserve}('current');

CREATE OR REPLACE TRIGGER preserve BEFORE UPDATE OR DELETE OR TRUNCATE ON ${superseded}
FOR EACH STATEMENT EXECUTE FUNCTION ${preserve}('history');

CREATE OR REPLACE TRIGGER preserve BEFORE TRUNCATE ON ${quarantine}
FOR EACH STATEMENT EXECUTE FUNCTION ${preserve}('current');

CREATE OR REPLACE TRIGGER preserve_keys BEFORE UPDATE OF ${keys} ON ${quarantine}
FOR EACH STATEMENT EXECUTE FUNCTION ${preserve}('current');

CREATE OR REPLACE TRIGGER preserve BEFORE UPDATE OR DELETE OR TRUNCATE ON ${quarantine_closed}
FOR EACH STATEMENT EXECUTE FUNCTION ${preserve}('history');
