DROP VIEW IF EXISTS quarantine_summary;

-- Rows in quarantine: one row per job, reason and column. Times are UTC.
CREATE VIEW quarantine_summary AS
SELECT
  q.job,
  q.reason_code,
  q.column_name,
  count(*) AS open_count,
  min(q.valid_from) AS since,
  max(q.valid_from) AS latest,
  max(q.attempts) AS most_attempts
FROM (
  ${entries}
) AS q
GROUP BY q.job, q.reason_code, q.column_name;
