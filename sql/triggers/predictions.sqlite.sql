DROP TRIGGER IF EXISTS ${preserve};

-- In a trigger, tables are those of its own schema, and are named without it.
CREATE TRIGGER ${preserve} BEFORE DELETE ON ${own_predictions} FOR EACH ROW BEGIN
  SELECT RAISE(ABORT, 'DELETE is refused: predictions are kept as they were written')
  WHERE NOT EXISTS (
    SELECT 1 FROM scoring_runs AS r
    WHERE r.running_job IN (SELECT j.job FROM scoring_jobs AS j WHERE j.predictions_table = ${registered})
      AND r."trigger" IN ('cli', 'schedule') AND json_extract(r.job_config, '$$.source.deleted') = 'close'
  );
END;

DROP TRIGGER IF EXISTS ${close};

CREATE TRIGGER ${close} AFTER DELETE ON ${own_predictions} FOR EACH ROW BEGIN
  INSERT INTO ${own_superseded} (${columns}, valid_to) VALUES (
    ${old_columns},
    CASE
      WHEN strftime('%Y-%m-%d %H:%M:%f000', 'now') > OLD.valid_from THEN strftime('%Y-%m-%d %H:%M:%f000', 'now')
      ELSE strftime('%Y-%m-%d %H:%M:%S.000000', OLD.valid_from, '+1 second') -- the clock was set back
    END
  );
END;

DROP TRIGGER IF EXISTS ${release};

CREATE TRIGGER ${release} BEFORE DELETE ON ${own_quarantine} FOR EACH ROW BEGIN
  SELECT RAISE(ABORT, 'an open entry is not deleted before it is copied to the closed ones; use batch-scoring quarantine retry')
  WHERE NOT EXISTS (SELECT 1 FROM ${own_quarantine_closed} AS c WHERE c.valid_from = OLD.valid_from AND ${same_key});
END;
