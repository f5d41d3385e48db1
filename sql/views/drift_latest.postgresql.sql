CREATE OR REPLACE VIEW ${drift_latest} AS
SELECT
  r.job,
  r.run_id,
  r.first_run_id,
  r.window_from,
  r.window_to,
  r.is_complete,
  r.row_count,
  r.model_name,
  r.model_version,
  r.reference,
  r.reference_rows,
  m.subject,
  m.name,
  m.measure,
  m.value,
  m.expected,
  m.p_value,
  m.q_value,
  m.limit_value,
  m.action,
  m.is_breach,
  m.importance,
  coalesce(m.why_not, r.why_not) AS why_not
FROM ${drift_reports} AS r
LEFT JOIN ${drift_metrics} AS m ON m.run_id = r.run_id AND m.scope = r.scope
WHERE r.scope = 'window'
  AND r.run_id = (
    SELECT max(l.run_id) FROM ${drift_reports} AS l WHERE l.job = r.job AND l.scope = 'window'
  );

COMMENT ON VIEW ${drift_latest} IS 'Drift of the latest window of each job: one row per figure';
COMMENT ON COLUMN ${drift_latest}.job IS 'The job';
COMMENT ON COLUMN ${drift_latest}.run_id IS 'The last run of the window';
COMMENT ON COLUMN ${drift_latest}.first_run_id IS 'The first run of the window';
COMMENT ON COLUMN ${drift_latest}.window_from IS 'Start of its first run, UTC';
COMMENT ON COLUMN ${drift_latest}.window_to IS 'Start of its last run, UTC';
COMMENT ON COLUMN ${drift_latest}.is_complete IS 'Whether the window has all its rows';
COMMENT ON COLUMN ${drift_latest}.row_count IS 'Rows that are compared, each once';
COMMENT ON COLUMN ${drift_latest}.model_name IS 'The model that scored';
COMMENT ON COLUMN ${drift_latest}.model_version IS 'The version that scored';
COMMENT ON COLUMN ${drift_latest}.reference IS 'What they are compared with: training, sample or runs';
COMMENT ON COLUMN ${drift_latest}.reference_rows IS 'Rows of the reference';
COMMENT ON COLUMN ${drift_latest}.subject IS 'feature, score or prediction';
COMMENT ON COLUMN ${drift_latest}.name IS 'The feature, or the subject again';
COMMENT ON COLUMN ${drift_latest}.measure IS 'distribution, missing, unseen, invalid or out_of_range';
COMMENT ON COLUMN ${drift_latest}.value IS 'Population stability index of a distribution, else a share; NULL where it was not computed';
COMMENT ON COLUMN ${drift_latest}.expected IS 'The index to be expected by chance, or the share in the reference';
COMMENT ON COLUMN ${drift_latest}.p_value IS 'How often chance alone gives a difference as large';
COMMENT ON COLUMN ${drift_latest}.q_value IS 'The same, adjusted for the number of comparisons';
COMMENT ON COLUMN ${drift_latest}.limit_value IS 'The limit that applied';
COMMENT ON COLUMN ${drift_latest}.action IS 'What a breach does: off, warn or hold';
COMMENT ON COLUMN ${drift_latest}.is_breach IS 'Whether the difference reaches its limit and is significant';
COMMENT ON COLUMN ${drift_latest}.importance IS 'Permutation importance of the feature';
COMMENT ON COLUMN ${drift_latest}.why_not IS 'Why it was not computed; NULL if it was';
