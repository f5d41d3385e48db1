-- Rows that could not be scored, by reason
SELECT job, reason_code, column_name, open_count, since, latest
FROM quarantine_summary
ORDER BY open_count DESC, job, reason_code;
