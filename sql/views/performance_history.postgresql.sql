CREATE OR REPLACE VIEW ${performance_history} AS
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
FROM ${performance_reports} AS r
JOIN ${outcome_readings} AS c ON c.reading_id = r.reading_id
JOIN ${performance_metrics} AS m ON m.report_id = r.report_id;

COMMENT ON VIEW ${performance_history} IS 'Every report of predictions compared with outcomes: one row per report and metric';
COMMENT ON COLUMN ${performance_history}.job IS 'The job';
COMMENT ON COLUMN ${performance_history}.month IS 'First day of the month of the decisions, UTC';
COMMENT ON COLUMN ${performance_history}.model_name IS 'The model that predicted';
COMMENT ON COLUMN ${performance_history}.model_version IS 'The version that predicted';
COMMENT ON COLUMN ${performance_history}.population IS 'all, or exploration: rows that were accepted at random';
COMMENT ON COLUMN ${performance_history}.number IS 'Number of the report of this month, from 1';
COMMENT ON COLUMN ${performance_history}.reported_at IS 'When it was computed, UTC';
COMMENT ON COLUMN ${performance_history}.predicted_count IS 'Predictions, with an outcome or without';
COMMENT ON COLUMN ${performance_history}.outcome_count IS 'Those of them with an outcome';
COMMENT ON COLUMN ${performance_history}.metric IS 'The metric, see the view performance';
COMMENT ON COLUMN ${performance_history}.value IS 'The value; NULL where it was not computed';
COMMENT ON COLUMN ${performance_history}.low IS 'Lower limit of its 95 % confidence interval';
COMMENT ON COLUMN ${performance_history}.high IS 'Upper limit of its 95 % confidence interval';
COMMENT ON COLUMN ${performance_history}.why_not IS 'Why it was not computed; NULL if it was';
