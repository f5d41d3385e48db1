-- Nothing removes or alters what was written: not even the owner of the tables, without disabling the triggers. Rows of
-- history are deleted while a purge is running, which records who deleted how many. Current predictions are deleted, and
-- appended to history, while a run is running whose job closes those of deleted rows. Functions run with the privileges
-- of their owner, so that no other role needs any on history.
CREATE OR REPLACE FUNCTION ${preserve}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ${search_path}
AS $$${tag}$$
BEGIN
  IF TG_OP = 'DELETE' AND TG_ARGV[0] = 'history' AND EXISTS (
    SELECT 1 FROM ${scoring_runs} AS r WHERE r.status = 'running' AND r."trigger" = 'purge'
  ) THEN
    RETURN NULL;
  END IF;
  IF TG_OP = 'DELETE' AND TG_ARGV[0] = 'current' AND EXISTS (
    SELECT 1 FROM ${scoring_runs} AS r
    WHERE r.running_job IN (SELECT j.job FROM ${scoring_jobs} AS j WHERE j.predictions_table = ${registered})
      AND r."trigger" IN ('cli', 'schedule') AND r.job_config -> 'source' ->> 'deleted' = 'close'
  ) THEN
    RETURN NULL;
  END IF;
  RAISE EXCEPTION '% of % is refused: predictions and their history are kept as they were written; batch-scoring purge deletes what is old',
    TG_OP, TG_TABLE_NAME USING ERRCODE = 'object_not_in_prerequisite_state', TABLE = TG_TABLE_NAME;
END
$$${tag}$$;

REVOKE ALL ON FUNCTION ${preserve}() FROM PUBLIC;

-- Rows on legal hold are not deleted, whoever tries.
CREATE OR REPLACE FUNCTION ${held}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ${search_path}
SET timezone = 'UTC' SET datestyle = 'ISO' SET intervalstyle = 'postgres' SET bytea_output = 'hex' SET extra_float_digits = 1
AS $$${tag}$$
DECLARE
  jobs text[] := ARRAY(SELECT j.job FROM ${scoring_jobs} AS j WHERE j.predictions_table = ${registered});
BEGIN
  IF EXISTS (
    SELECT 1 FROM old_rows AS o JOIN ${legal_holds} AS h ON h.run_id = o.run_id
    WHERE h.removed_at IS NULL AND h.job = ANY (jobs)
  ) OR EXISTS (
    SELECT 1 FROM old_rows AS o JOIN ${legal_holds} AS h ON ${held_key}
    WHERE h.removed_at IS NULL AND h.job = ANY (jobs)
  ) THEN
    RAISE EXCEPTION 'DELETE of % is refused: rows are on legal hold; see batch-scoring hold list', TG_TABLE_NAME
      USING ERRCODE = 'object_not_in_prerequisite_state', TABLE = TG_TABLE_NAME;
  END IF;
  RETURN NULL;
END
$$${tag}$$;

REVOKE ALL ON FUNCTION ${held}() FROM PUBLIC;

CREATE OR REPLACE TRIGGER preserve BEFORE DELETE OR TRUNCATE ON ${predictions}
FOR EACH STATEMENT EXECUTE FUNCTION ${preserve}('current');

CREATE OR REPLACE FUNCTION ${close}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ${search_path}
AS $$${tag}$$
BEGIN
  INSERT INTO ${superseded} (${columns}, valid_to)
  SELECT ${columns}, greatest(clock_timestamp(), max(o.valid_from) OVER () + interval '1 microsecond') FROM old_rows AS o;
  RETURN NULL;
END
$$${tag}$$;

REVOKE ALL ON FUNCTION ${close}() FROM PUBLIC;

CREATE OR REPLACE TRIGGER close AFTER DELETE ON ${predictions}
REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION ${close}();

CREATE OR REPLACE TRIGGER preserve BEFORE TRUNCATE ON ${quarantine}
FOR EACH STATEMENT EXECUTE FUNCTION ${preserve}('current');

-- An open entry is deleted only after it has been copied to ${quarantine_closed}.
CREATE OR REPLACE FUNCTION ${release}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ${search_path}
AS $$${tag}$$
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
$$${tag}$$;

REVOKE ALL ON FUNCTION ${release}() FROM PUBLIC;

CREATE OR REPLACE TRIGGER release AFTER DELETE ON ${quarantine}
REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION ${release}();
