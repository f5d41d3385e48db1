CREATE OR REPLACE VIEW ${outcome_coverage} AS
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
FROM ${outcome_readings} AS c
WHERE NOT EXISTS (SELECT 1 FROM ${outcome_readings} AS l WHERE l.job = c.job AND l.reading_id > c.reading_id);

COMMENT ON VIEW ${outcome_coverage} IS 'What became of the rows of the outcomes when they were last read: one row per job';
COMMENT ON COLUMN ${outcome_coverage}.job IS 'The job';
COMMENT ON COLUMN ${outcome_coverage}.read_at IS 'When they were read, UTC';
COMMENT ON COLUMN ${outcome_coverage}.read_by IS 'The login that read them';
COMMENT ON COLUMN ${outcome_coverage}.read_count IS 'Rows of the outcomes';
COMMENT ON COLUMN ${outcome_coverage}.used_count IS 'Outcomes that figures are computed from';
COMMENT ON COLUMN ${outcome_coverage}.immature_count IS 'Outcomes of months whose performance window is still open';
COMMENT ON COLUMN ${outcome_coverage}.unknown_count IS 'Rows whose outcome is not known yet';
COMMENT ON COLUMN ${outcome_coverage}.duplicate_count IS 'Rows that repeat the outcome of a prediction';
COMMENT ON COLUMN ${outcome_coverage}.reversal_count IS 'Rows that change the outcome of a prediction, of which the latest counts';
COMMENT ON COLUMN ${outcome_coverage}.unknown_key_count IS 'Rows whose key was never scored';
COMMENT ON COLUMN ${outcome_coverage}.unpredicted_count IS 'Rows whose key had no current prediction at the time';
COMMENT ON COLUMN ${outcome_coverage}.invalid_count IS 'Rows whose outcome is no label of the model, or no number where it predicts one';
COMMENT ON COLUMN ${outcome_coverage}.undated_count IS 'Rows without a time';
