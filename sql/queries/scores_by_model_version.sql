-- The current predicted values, by model version
SELECT model_name, model_version, count(*) AS predictions, min(score) AS lowest, avg(score) AS mean, max(score) AS highest
FROM ${current}
GROUP BY model_name, model_version
ORDER BY model_name, model_version;
