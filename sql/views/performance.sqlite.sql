DROP VIEW IF EXISTS performance;

-- Predictions compared with outcomes: one row per job, month of the decision, model version and metric. Times are UTC.
CREATE VIEW performance AS
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
FROM performance_reports AS r
JOIN outcome_readings AS c ON c.reading_id = r.reading_id
JOIN performance_metrics AS m ON m.report_id = r.report_id
JOIN performance_reports AS fr
  ON fr.job = r.job AND fr.month = r.month AND fr.model_name = r.model_name AND fr.model_version = r.model_version
  AND fr.population = r.population AND fr.number = 1
JOIN outcome_readings AS fc ON fc.reading_id = fr.reading_id
LEFT JOIN performance_metrics AS fm ON fm.report_id = fr.report_id AND fm.metric = m.metric
WHERE NOT EXISTS (
  SELECT 1
  FROM performance_reports AS l
  WHERE l.job = r.job AND l.month = r.month AND l.model_name = r.model_name AND l.model_version = r.model_version
    AND l.population = r.population AND l.number > r.number
);
