DROP VIEW IF EXISTS calibration;

-- Scores compared with outcomes: one row per job, month of the decision, model version and band of similar scores. Times are UTC.
CREATE VIEW calibration AS
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
FROM performance_reports AS r
JOIN performance_bands AS b ON b.report_id = r.report_id
WHERE NOT EXISTS (
  SELECT 1
  FROM performance_reports AS l
  WHERE l.job = r.job AND l.month = r.month AND l.model_name = r.model_name AND l.model_version = r.model_version
    AND l.population = r.population AND l.number > r.number
);
