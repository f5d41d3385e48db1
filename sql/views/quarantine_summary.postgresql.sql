CREATE OR REPLACE VIEW ${quarantine_summary} AS
SELECT
  q.job::text AS job,
  q.reason_code::text AS reason_code,
  q.column_name::text AS column_name,
  count(*) AS open_count,
  min(q.valid_from) AS since,
  max(q.valid_from) AS latest,
  max(q.attempts) AS most_attempts
FROM (
  ${entries}
) AS q
GROUP BY q.job, q.reason_code, q.column_name;

COMMENT ON VIEW ${quarantine_summary} IS 'Rows in quarantine: one row per job, reason and column';
COMMENT ON COLUMN ${quarantine_summary}.job IS 'The job';
COMMENT ON COLUMN ${quarantine_summary}.reason_code IS 'Why the rows could not be scored';
COMMENT ON COLUMN ${quarantine_summary}.column_name IS 'The column at fault, where there is one';
COMMENT ON COLUMN ${quarantine_summary}.open_count IS 'Rows in quarantine now';
COMMENT ON COLUMN ${quarantine_summary}.since IS 'When the first of them was quarantined, UTC';
COMMENT ON COLUMN ${quarantine_summary}.latest IS 'When the last of them was quarantined, UTC';
COMMENT ON COLUMN ${quarantine_summary}.most_attempts IS 'Highest number of consecutive failed attempts of one row';
