-- Histogram of the current scores, by twentieths of their range
SELECT model_name, model_version, score_from, score_to, prediction_count, share
FROM ${distribution}
ORDER BY model_name, model_version, band;
