-- What a run is and who started it is fixed when it starts, and its record when it ends. The owner of the tables is not bound,
-- who could disable triggers too: `batch-scoring runs verify` finds what was altered. The database writes the login itself.
CREATE OR REPLACE FUNCTION ${keep_run}() RETURNS trigger
LANGUAGE plpgsql SET search_path = ${search_path}
AS $$${tag}$$
DECLARE
  is_owner boolean := (SELECT pg_has_role(session_user, c.relowner, 'USAGE') FROM pg_class AS c WHERE c.oid = TG_RELID);
  tolerance interval := '1 minute';
BEGIN
  IF TG_OP = 'INSERT' THEN
    NEW.database_user := session_user;
  END IF;
  IF is_owner THEN
    RETURN NEW;
  END IF;
  IF TG_OP = 'INSERT' THEN
    IF NEW.status::text NOT IN ('running', 'skipped')
      OR NEW.started_at NOT BETWEEN now() - tolerance AND clock_timestamp() + tolerance
    THEN
      RAISE EXCEPTION 'a run is recorded when it starts' USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
  ELSIF OLD.status::text <> 'running' THEN
    RAISE EXCEPTION 'run % has ended, and its record is kept as it was written', OLD.run_id
      USING ERRCODE = 'object_not_in_prerequisite_state';
  ELSIF (${new_identity}) IS DISTINCT FROM (${old_identity}) THEN
    RAISE EXCEPTION 'what run % is, and who started it, is kept as it was written', OLD.run_id
      USING ERRCODE = 'object_not_in_prerequisite_state';
  END IF;
  IF NEW.heartbeat_at > clock_timestamp() + tolerance OR NEW.finished_at > clock_timestamp() + tolerance THEN
    RAISE EXCEPTION 'run % has a heartbeat or an end in the future', NEW.run_id
      USING ERRCODE = 'object_not_in_prerequisite_state';
  END IF;
  RETURN NEW;
END
$$${tag}$$;

REVOKE ALL ON FUNCTION ${keep_run}() FROM PUBLIC;

CREATE OR REPLACE TRIGGER keep BEFORE INSERT ON ${scoring_runs}
FOR EACH ROW EXECUTE FUNCTION ${keep_run}();

-- AFTER: before an UPDATE, PostgreSQL would lock the row as for a change of its unique column, and heartbeats would wait for
-- chunks.
CREATE OR REPLACE TRIGGER keep_ended AFTER UPDATE ON ${scoring_runs}
FOR EACH ROW EXECUTE FUNCTION ${keep_run}();

-- A chunk and its profile are recorded by the run that commits it, while it is running. At its end the profiles of its chunks
-- are replaced by their sum.
CREATE OR REPLACE FUNCTION ${keep_chunk}() RETURNS trigger
LANGUAGE plpgsql SET search_path = ${search_path}
AS $$${tag}$$
DECLARE
  of_run bigint := CASE TG_OP WHEN 'DELETE' THEN OLD.run_id ELSE NEW.run_id END;
BEGIN
  IF NOT EXISTS (
    SELECT 1 FROM ${scoring_runs} AS r WHERE r.run_id = of_run AND r.status::text = 'running'
  ) AND NOT (SELECT pg_has_role(session_user, c.relowner, 'USAGE') FROM pg_class AS c WHERE c.oid = TG_RELID) THEN
    RAISE EXCEPTION 'run % is not running', of_run USING ERRCODE = 'object_not_in_prerequisite_state';
  END IF;
  RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END
$$${tag}$$;

REVOKE ALL ON FUNCTION ${keep_chunk}() FROM PUBLIC;

CREATE OR REPLACE TRIGGER keep BEFORE INSERT ON ${scoring_chunks}
FOR EACH ROW EXECUTE FUNCTION ${keep_chunk}();

CREATE OR REPLACE TRIGGER keep BEFORE INSERT OR DELETE ON ${scoring_profiles}
FOR EACH ROW EXECUTE FUNCTION ${keep_chunk}();

-- The login that wrote a record, as the database knows it.
CREATE OR REPLACE FUNCTION ${keep_login}() RETURNS trigger
LANGUAGE plpgsql SET search_path = ${search_path}
AS $$${tag}$$
BEGIN
  NEW.database_user := session_user;
  RETURN NEW;
END
$$${tag}$$;

REVOKE ALL ON FUNCTION ${keep_login}() FROM PUBLIC;

CREATE OR REPLACE TRIGGER keep_login BEFORE INSERT ON ${model_versions}
FOR EACH ROW EXECUTE FUNCTION ${keep_login}();

-- A proposal is approved by another login than the one that proposed it, and for what was proposed.
CREATE OR REPLACE FUNCTION ${keep_promotion}() RETURNS trigger
LANGUAGE plpgsql SET search_path = ${search_path}
AS $$${tag}$$
BEGIN
  NEW.database_user := session_user;
  IF NEW.proposal_id IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM ${model_proposals} AS p
    WHERE p.proposal_id = NEW.proposal_id AND p.name = NEW.name AND p.alias = NEW.alias AND p.version = NEW.version
      AND p.database_user <> session_user
  ) THEN
    RAISE EXCEPTION 'proposal % is not one that this login may approve', NEW.proposal_id
      USING ERRCODE = 'object_not_in_prerequisite_state';
  END IF;
  RETURN NEW;
END
$$${tag}$$;

REVOKE ALL ON FUNCTION ${keep_promotion}() FROM PUBLIC;

CREATE OR REPLACE TRIGGER keep_login BEFORE INSERT ON ${model_promotions}
FOR EACH ROW EXECUTE FUNCTION ${keep_promotion}();

CREATE OR REPLACE TRIGGER keep_login BEFORE INSERT ON ${model_proposals}
FOR EACH ROW EXECUTE FUNCTION ${keep_login}();

CREATE OR REPLACE TRIGGER keep_login BEFORE INSERT ON ${model_signatures}
FOR EACH ROW EXECUTE FUNCTION ${keep_login}();

CREATE OR REPLACE TRIGGER keep_login BEFORE INSERT ON ${model_archivals}
FOR EACH ROW EXECUTE FUNCTION ${keep_login}();

CREATE OR REPLACE TRIGGER keep_login BEFORE INSERT ON ${held_run_decisions}
FOR EACH ROW EXECUTE FUNCTION ${keep_login}();

CREATE OR REPLACE TRIGGER keep_login BEFORE INSERT ON ${legal_holds}
FOR EACH ROW EXECUTE FUNCTION ${keep_login}();

CREATE OR REPLACE TRIGGER keep_login BEFORE INSERT ON ${drift_mutes}
FOR EACH ROW EXECUTE FUNCTION ${keep_login}();

CREATE OR REPLACE TRIGGER keep_login BEFORE INSERT ON ${fairness_reports}
FOR EACH ROW EXECUTE FUNCTION ${keep_login}();

CREATE OR REPLACE TRIGGER keep_login BEFORE INSERT ON ${outcome_readings}
FOR EACH ROW EXECUTE FUNCTION ${keep_login}();

CREATE OR REPLACE TRIGGER keep_login BEFORE INSERT ON ${monitoring_limits}
FOR EACH ROW EXECUTE FUNCTION ${keep_login}();

-- A hold is removed once; otherwise its record is kept as it was written.
CREATE OR REPLACE FUNCTION ${keep_hold}() RETURNS trigger
LANGUAGE plpgsql SET search_path = ${search_path}
AS $$${tag}$$
BEGIN
  IF OLD.removed_at IS NOT NULL
    AND NOT (SELECT pg_has_role(session_user, c.relowner, 'USAGE') FROM pg_class AS c WHERE c.oid = TG_RELID)
  THEN
    RAISE EXCEPTION 'hold % was removed, and its record is kept as it was written', OLD.hold_id
      USING ERRCODE = 'object_not_in_prerequisite_state';
  END IF;
  NEW.removed_by_database_user := session_user;
  RETURN NEW;
END
$$${tag}$$;

REVOKE ALL ON FUNCTION ${keep_hold}() FROM PUBLIC;

CREATE OR REPLACE TRIGGER keep BEFORE UPDATE ON ${legal_holds}
FOR EACH ROW EXECUTE FUNCTION ${keep_hold}();
