-- The freshness of each job's predictions
SELECT job, predictions_table, last_success_at, seconds_since_success, complete_as_of, last_status
FROM data_freshness
ORDER BY job, predictions_table;
