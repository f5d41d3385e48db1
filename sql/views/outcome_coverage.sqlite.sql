DROP VIEW IF EXISTS outcome_coverage;

-- What became of the rows of the outcomes when they were last read: one row per job. Times are UTC.
CREATE VIEW outcome_coverage AS
SELECT
  c.job,
  c.read_at,
  c.read_by,
  c.read_count,
  c.used_count,
  c.immature_count,
  c.unknown_count,
  c.duplicate_count,
  c.reversal_count,
  c.unknown_key_count,
  c.unpredicted_count,
  c.invalid_count,
  c.undated_count
FROM outcome_readings AS c
WHERE NOT EXISTS (SELECT 1 FROM outcome_readings AS l WHERE l.job = c.job AND l.reading_id > c.reading_id);
