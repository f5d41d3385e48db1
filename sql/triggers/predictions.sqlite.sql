DROP TRIGGER IF EXISTS ${supersede};

-- The old form of a superseded prediction is appended to history by the database itself. In a trigger, tables are those of its
-- own schema, and are named without it.
CREATE TRIGGER ${supersede} AFTER UPDATE ON ${own_predictions} FOR EACH ROW BEGIN
  SELECT RAISE(ABORT, 'a prediction is superseded by one of the same key that starts later')
  WHERE NOT (${unchanged_key}) OR NEW.valid_from <= OLD.valid_from;
  INSERT INTO ${own_superseded} (${columns}, valid_to) VALUES (${old_columns}, NEW.valid_from);
END;

DROP TRIGGER IF EXISTS ${requarantine};

CREATE TRIGGER ${requarantine} AFTER UPDATE ON ${own_quarantine} FOR EACH ROW BEGIN
  SELECT RAISE(ABORT, 'an entry is replaced by one of the same key that starts later')
  WHERE NOT (${unchanged_key}) OR NEW.valid_from <= OLD.valid_from;
  INSERT INTO ${own_quarantine_closed} (${entry_columns}, valid_to) VALUES (${old_entry_columns}, NEW.valid_from);
END;

DROP TRIGGER IF EXISTS ${release};

CREATE TRIGGER ${release} BEFORE DELETE ON ${own_quarantine} FOR EACH ROW BEGIN
  SELECT RAISE(ABORT, 'an open entry is not deleted before it is copied to the closed ones; use batch-scoring quarantine retry')
  WHERE NOT EXISTS (SELECT 1 FROM ${own_quarantine_closed} AS c WHERE c.valid_from = OLD.valid_from AND ${same_key});
END;

DROP TRIGGER IF EXISTS ${preserve};

CREATE TRIGGER ${preserve} BEFORE DELETE ON ${own_predictions} FOR EACH ROW BEGIN
  SELECT RAISE(ABORT, 'DELETE is refused: predictions are kept as they were written');
END;

DROP TRIGGER IF EXISTS ${preserve_past};

CREATE TRIGGER ${preserve_past} BEFORE UPDATE ON ${own_superseded} FOR EACH ROW BEGIN
  SELECT RAISE(ABORT, 'UPDATE is refused: history is kept as it was written');
END;

DROP TRIGGER IF EXISTS ${purge_past};

CREATE TRIGGER ${purge_past} BEFORE DELETE ON ${own_superseded} FOR EACH ROW BEGIN
  SELECT RAISE(ABORT, 'DELETE is refused: history is kept as it was written; batch-scoring purge deletes what is old')
  WHERE NOT EXISTS (SELECT 1 FROM scoring_runs WHERE status = 'running' AND "trigger" = 'purge');
END;

DROP TRIGGER IF EXISTS ${preserve_closed};

CREATE TRIGGER ${preserve_closed} BEFORE UPDATE ON ${own_quarantine_closed} FOR EACH ROW BEGIN
  SELECT RAISE(ABORT, 'UPDATE is refused: history is kept as it was written');
END;

DROP TRIGGER IF EXISTS ${purge_closed};

CREATE TRIGGER ${purge_closed} BEFORE DELETE ON ${own_quarantine_closed} FOR EACH ROW BEGIN
  SELECT RAISE(ABORT, 'DELETE is refused: history is kept as it was written; batch-scoring purge deletes what is old')
  WHERE NOT EXISTS (SELECT 1 FROM scoring_runs WHERE status = 'running' AND "trigger" = 'purge');
END;
