-- Approvals by week in which the decision was made, whatever became of it since
SELECT
  date(day, 'weekday 0', '-6 days') AS week,
  sum(prediction_count) AS decisions,
  sum(positive_count) AS approvals,
  round(1.0 * sum(positive_count) / sum(prediction_count), 4) AS approval_rate
FROM predictions_daily
GROUP BY 1
ORDER BY 1;
