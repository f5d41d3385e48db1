CREATE OR REPLACE VIEW ${calibration} AS
SELECT
  r.job,
  r.month,
  r.model_name,
  r.model_version,
  r.population,
  b.number AS band,
  b.low,
  b.high,
  b.outcome_count,
  b.expected,
  b.observed,
  b.observed_low,
  b.observed_high
FROM ${performance_reports} AS r
JOIN ${performance_bands} AS b ON b.report_id = r.report_id
WHERE NOT EXISTS (
  SELECT 1
  FROM ${performance_reports} AS l
  WHERE l.job = r.job AND l.month = r.month AND l.model_name = r.model_name AND l.model_version = r.model_version
    AND l.population = r.population AND l.number > r.number
);

COMMENT ON VIEW ${calibration} IS 'Scores compared with outcomes: one row per job, month of the decision, model version and band of similar scores';
COMMENT ON COLUMN ${calibration}.job IS 'The job';
COMMENT ON COLUMN ${calibration}.month IS 'First day of the month of the decisions, UTC';
COMMENT ON COLUMN ${calibration}.model_name IS 'The model that predicted';
COMMENT ON COLUMN ${calibration}.model_version IS 'The version that predicted';
COMMENT ON COLUMN ${calibration}.population IS 'all, or exploration: rows that were accepted at random';
COMMENT ON COLUMN ${calibration}.band IS 'Number of the band, from 1';
COMMENT ON COLUMN ${calibration}.low IS 'Smallest score of the band';
COMMENT ON COLUMN ${calibration}.high IS 'Largest score of the band';
COMMENT ON COLUMN ${calibration}.outcome_count IS 'Predictions with an outcome';
COMMENT ON COLUMN ${calibration}.expected IS 'Mean score';
COMMENT ON COLUMN ${calibration}.observed IS 'Share of outcomes that are the positive label';
COMMENT ON COLUMN ${calibration}.observed_low IS 'Lower limit of its 95 % confidence interval (Wilson)';
COMMENT ON COLUMN ${calibration}.observed_high IS 'Upper limit of its 95 % confidence interval (Wilson)';
