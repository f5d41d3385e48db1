CREATE OR REPLACE VIEW ${decision_overrides} AS
SELECT
  c.job,
  d.month,
  d.model_name,
  d.model_version,
  d.prediction,
  d.decision,
  d.decision <> d.prediction AS is_override,
  d.reason,
  d.decided_by,
  d.decision_count
FROM ${decision_counts} AS d
JOIN ${outcome_readings} AS c ON c.reading_id = d.reading_id
WHERE NOT EXISTS (
  SELECT 1
  FROM ${decision_counts} AS ld
  JOIN ${outcome_readings} AS lc ON lc.reading_id = ld.reading_id
  WHERE lc.job = c.job AND lc.reading_id > c.reading_id
);

COMMENT ON VIEW ${decision_overrides} IS 'Decisions compared with what was predicted: one row per job, month, model version, labels, reason and user';
COMMENT ON COLUMN ${decision_overrides}.job IS 'The job';
COMMENT ON COLUMN ${decision_overrides}.month IS 'First day of the month of the decisions, UTC';
COMMENT ON COLUMN ${decision_overrides}.model_name IS 'The model that predicted';
COMMENT ON COLUMN ${decision_overrides}.model_version IS 'The version that predicted';
COMMENT ON COLUMN ${decision_overrides}.prediction IS 'The predicted label';
COMMENT ON COLUMN ${decision_overrides}.decision IS 'The label that was decided in the end';
COMMENT ON COLUMN ${decision_overrides}.is_override IS 'Whether they differ';
COMMENT ON COLUMN ${decision_overrides}.reason IS 'Reason, as the outcomes name it; empty where they do not';
COMMENT ON COLUMN ${decision_overrides}.decided_by IS 'The user who decided, as the outcomes name them; empty where they do not';
COMMENT ON COLUMN ${decision_overrides}.decision_count IS 'Decisions';
