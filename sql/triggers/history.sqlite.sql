DROP TRIGGER IF EXISTS ${supersede};

-- The old form of a row that is superseded is appended to history by the database itself.
CREATE TRIGGER ${supersede} AFTER UPDATE ON ${own_current} FOR EACH ROW BEGIN
  SELECT RAISE(ABORT, 'a row is superseded by one of the same key that starts later')
  WHERE NOT (${unchanged_key}) OR NEW.valid_from <= OLD.valid_from;
  INSERT INTO ${own_past} (${columns}, valid_to) VALUES (${old_columns}, NEW.valid_from);
END;

DROP TRIGGER IF EXISTS ${preserve_past};

CREATE TRIGGER ${preserve_past} BEFORE UPDATE ON ${own_past} FOR EACH ROW BEGIN
  SELECT RAISE(ABORT, 'UPDATE is refused: history is kept as it was written');
END;

DROP TRIGGER IF EXISTS ${purge_past};

CREATE TRIGGER ${purge_past} BEFORE DELETE ON ${own_past} FOR EACH ROW BEGIN
  SELECT RAISE(ABORT, 'DELETE is refused: history is kept as it was written; batch-scoring purge deletes what is old')
  WHERE NOT EXISTS (SELECT 1 FROM scoring_runs WHERE status = 'running' AND "trigger" = 'purge');
  SELECT RAISE(ABORT, 'DELETE is refused: the row is on legal hold; see batch-scoring hold list')
  WHERE EXISTS (
    SELECT 1 FROM legal_holds AS h
    WHERE h.removed_at IS NULL AND (h.run_id = OLD.run_id OR (${held_key}))
      AND h.job IN (SELECT j.job FROM scoring_jobs AS j WHERE j.predictions_table = ${registered})
  );
END;
