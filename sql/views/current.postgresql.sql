CREATE OR REPLACE VIEW ${current} AS
SELECT
  ${keys},
  p.score,
  p.prediction,
  r.model_name,
  p.model_version,
  p.run_id,
  p.valid_from AS scored_at,
  p.source_changed_at,
  q.valid_from AS quarantined_since,
  q.reason_code::text AS quarantine_reason
FROM ${predictions} AS p
JOIN ${scoring_runs} AS r ON r.run_id = p.run_id
LEFT JOIN ${quarantine} AS q ON ${quarantine_of_key};

COMMENT ON VIEW ${current} IS 'One row per key: the current prediction';
${key_comments}
COMMENT ON COLUMN ${current}.score IS '${score_comment}';
COMMENT ON COLUMN ${current}.prediction IS 'The predicted label; NULL for a regression';
COMMENT ON COLUMN ${current}.model_name IS 'The model that scored';
COMMENT ON COLUMN ${current}.model_version IS 'The version that scored';
COMMENT ON COLUMN ${current}.run_id IS 'The run that wrote it, see run_history';
COMMENT ON COLUMN ${current}.scored_at IS 'When it was written, UTC';
COMMENT ON COLUMN ${current}.source_changed_at IS 'Version of the source row that was read';
COMMENT ON COLUMN ${current}.quarantined_since IS 'When the source row was quarantined, UTC: it changed and could not be scored, so this prediction is that of an earlier version; NULL if it is not quarantined';
COMMENT ON COLUMN ${current}.quarantine_reason IS 'Why it is quarantined';
