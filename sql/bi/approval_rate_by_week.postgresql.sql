-- Approvals by week in which the decision was made, whatever became of it since
SELECT
  date_trunc('week', day)::date AS week,
  sum(prediction_count) AS decisions,
  sum(positive_count) AS approvals,
  round(sum(positive_count) / sum(prediction_count), 4) AS approval_rate
FROM predictions_daily
GROUP BY 1
ORDER BY 1;
