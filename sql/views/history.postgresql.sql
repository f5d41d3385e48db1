CREATE OR REPLACE VIEW ${history} AS
SELECT
  ${keys},
  p.score,
  p.prediction,
  r.model_name,
  p.model_version,
  p.run_id,
  r."trigger",
  r.requested_by,
  r.reason,
  p.source_changed_at,
  p.valid_from,
  p.valid_to,
  p.valid_to = TIMESTAMPTZ '9999-12-31 00:00:00+00' AS is_current
FROM ${all_predictions} AS p
JOIN ${scoring_runs} AS r ON r.run_id = p.run_id;

COMMENT ON VIEW ${history} IS 'One row per prediction, current or superseded, with its validity period from valid_from to valid_to, exclusive';
${history_key_comments}
COMMENT ON COLUMN ${history}.score IS '${score_comment}';
COMMENT ON COLUMN ${history}.prediction IS 'The predicted label; NULL for a regression';
COMMENT ON COLUMN ${history}.model_name IS 'The model that scored';
COMMENT ON COLUMN ${history}.model_version IS 'The version that scored';
COMMENT ON COLUMN ${history}.run_id IS 'The run that wrote it, see run_history';
COMMENT ON COLUMN ${history}."trigger" IS 'What started that run: cli, schedule or rescore';
COMMENT ON COLUMN ${history}.requested_by IS 'The login that requested that run';
COMMENT ON COLUMN ${history}.reason IS 'Reason given for a manual run; NULL for an ordinary run';
COMMENT ON COLUMN ${history}.source_changed_at IS 'Version of the source row that was read';
COMMENT ON COLUMN ${history}.valid_from IS 'Start of the validity period, UTC';
COMMENT ON COLUMN ${history}.valid_to IS 'End of the validity period, exclusive, UTC; 9999-12-31 while it is current';
COMMENT ON COLUMN ${history}.is_current IS 'Whether it is current';
