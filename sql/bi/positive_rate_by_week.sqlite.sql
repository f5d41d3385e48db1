-- The share of the positive label by week: one decision for each new or changed row; rescores are counted separately
SELECT
  date(day, 'weekday 0', '-6 days') AS week,
  sum(ordinary_count) AS decisions,
  sum(ordinary_positive_count) AS positives,
  round(1.0 * sum(ordinary_positive_count) / nullif(sum(ordinary_count), 0), 4) AS positive_rate,
  sum(rescored_count) AS rescored
FROM predictions_daily
GROUP BY 1
ORDER BY 1;
