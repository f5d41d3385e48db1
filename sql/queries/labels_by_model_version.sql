-- The labels of the current predictions, by model version
SELECT model_name, model_version, prediction, count(*) AS decisions, avg(score) AS mean_score
FROM ${current}
GROUP BY model_name, model_version, prediction
ORDER BY model_name, model_version, prediction;
