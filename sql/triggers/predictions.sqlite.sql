DROP TRIGGER IF EXISTS ${preserve};

-- In a trigger, tables are those of its own schema, and are named without it.
CREATE TRIGGER ${preserve} BEFORE DELETE ON ${own_predictions} FOR EACH ROW BEGIN
  SELECT RAISE(ABORT, 'DELETE is refused: predictions are kept as they were written');
END;

DROP TRIGGER IF EXISTS ${release};

CREATE TRIGGER ${release} BEFORE DELETE ON ${own_quarantine} FOR EACH ROW BEGIN
  SELECT RAISE(ABORT, 'an open entry is not deleted before it is copied to the closed ones; use batch-scoring quarantine retry')
  WHERE NOT EXISTS (SELECT 1 FROM ${own_quarantine_closed} AS c WHERE c.valid_from = OLD.valid_from AND ${same_key});
END;
