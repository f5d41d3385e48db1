-- The share of the positive label among the current predictions, by model version
SELECT
  model_name,
  model_version,
  count(*) AS decisions,
  sum(CASE WHEN prediction = ${positive_label} THEN 1 ELSE 0 END) AS positives,
  round(avg(CASE WHEN prediction = ${positive_label} THEN 1.0 ELSE 0.0 END), 4) AS positive_rate
FROM ${current}
GROUP BY model_name, model_version
ORDER BY model_name, model_version;
