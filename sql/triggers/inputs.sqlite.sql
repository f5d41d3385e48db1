DROP TRIGGER IF EXISTS ${held_inputs};

-- The checksums of stored inputs show whether they were altered; rows on legal hold are not deleted.
CREATE TRIGGER ${held_inputs} BEFORE DELETE ON ${own_inputs} FOR EACH ROW BEGIN
  SELECT RAISE(ABORT, 'DELETE is refused: the row is on legal hold; see batch-scoring hold list')
  WHERE EXISTS (
    SELECT 1 FROM legal_holds AS h
    WHERE h.removed_at IS NULL AND (h.run_id = OLD.run_id OR (${held_key}))
      AND h.job IN (SELECT j.job FROM scoring_jobs AS j WHERE j.predictions_table = ${registered})
  );
END;
