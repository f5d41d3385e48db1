CREATE OR REPLACE VIEW ${performance} AS
SELECT
  r.job,
  r.month,
  r.model_name,
  r.model_version,
  r.population,
  r.predicted_count,
  r.outcome_count,
  m.metric,
  m.value,
  m.low,
  m.high,
  m.why_not,
  c.read_at AS reported_at,
  r.number AS report_count,
  fm.value AS first_value,
  fr.outcome_count AS first_outcome_count,
  fc.read_at AS first_reported_at
FROM ${performance_reports} AS r
JOIN ${outcome_readings} AS c ON c.reading_id = r.reading_id
JOIN ${performance_metrics} AS m ON m.report_id = r.report_id
JOIN ${performance_reports} AS fr
  ON fr.job = r.job AND fr.month = r.month AND fr.model_name = r.model_name AND fr.model_version = r.model_version
  AND fr.population = r.population AND fr.number = 1
JOIN ${outcome_readings} AS fc ON fc.reading_id = fr.reading_id
LEFT JOIN ${performance_metrics} AS fm ON fm.report_id = fr.report_id AND fm.metric = m.metric
WHERE NOT EXISTS (
  SELECT 1
  FROM ${performance_reports} AS l
  WHERE l.job = r.job AND l.month = r.month AND l.model_name = r.model_name AND l.model_version = r.model_version
    AND l.population = r.population AND l.number > r.number
);

COMMENT ON VIEW ${performance} IS 'Predictions compared with outcomes: one row per job, month of the decision, model version and metric';
COMMENT ON COLUMN ${performance}.job IS 'The job';
COMMENT ON COLUMN ${performance}.month IS 'First day of the month of the decisions, UTC';
COMMENT ON COLUMN ${performance}.model_name IS 'The model that predicted';
COMMENT ON COLUMN ${performance}.model_version IS 'The version that predicted';
COMMENT ON COLUMN ${performance}.population IS 'all, or exploration: rows that were accepted at random';
COMMENT ON COLUMN ${performance}.predicted_count IS 'Predictions, with an outcome or without';
COMMENT ON COLUMN ${performance}.outcome_count IS 'Those of them with an outcome, from which the value is computed';
COMMENT ON COLUMN ${performance}.metric IS 'accuracy, base_rate, precision, recall, roc_auc, gini, ks, log_loss, brier_score, calibration_intercept, calibration_slope; of a regression mean_absolute_error, root_mean_squared_error, bias';
COMMENT ON COLUMN ${performance}.value IS 'The value; NULL where it was not computed';
COMMENT ON COLUMN ${performance}.low IS 'Lower limit of its 95 % confidence interval';
COMMENT ON COLUMN ${performance}.high IS 'Upper limit of its 95 % confidence interval';
COMMENT ON COLUMN ${performance}.why_not IS 'Why it was not computed; NULL if it was';
COMMENT ON COLUMN ${performance}.reported_at IS 'When it was computed, UTC';
COMMENT ON COLUMN ${performance}.report_count IS 'How often the month was reported: once, and again when its outcomes changed';
COMMENT ON COLUMN ${performance}.first_value IS 'The value as it was first reported';
COMMENT ON COLUMN ${performance}.first_outcome_count IS 'Predictions with an outcome at that time';
COMMENT ON COLUMN ${performance}.first_reported_at IS 'When it was first reported, UTC';
