DROP VIEW IF EXISTS performance_history;

-- Every report of predictions compared with outcomes: one row per report and metric. Times are UTC.
CREATE VIEW performance_history AS
SELECT
  r.job,
  r.month,
  r.model_name,
  r.model_version,
  r.population,
  r.number,
  c.read_at AS reported_at,
  r.predicted_count,
  r.outcome_count,
  m.metric,
  m.value,
  m.low,
  m.high,
  m.why_not
FROM performance_reports AS r
JOIN outcome_readings AS c ON c.reading_id = r.reading_id
JOIN performance_metrics AS m ON m.report_id = r.report_id;
