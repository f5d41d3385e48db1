DROP VIEW IF EXISTS ${daily};

-- One row per day (UTC) and model version: the predictions created on that day, including superseded ones.
CREATE VIEW ${daily} AS
WITH ranked AS (
  SELECT
    date(p.valid_from) AS day,
    r.model_name,
    p.model_version,
    p.score,
    p.prediction,
    p.valid_to,
    r."trigger" = 'rescore' AS is_rescore,
    row_number() OVER (PARTITION BY date(p.valid_from), r.model_name, p.model_version ORDER BY p.score) AS up_to_here,
    count(*) OVER (PARTITION BY date(p.valid_from), r.model_name, p.model_version) AS all_n
  FROM ${all_predictions} AS p
  JOIN scoring_runs AS r ON r.run_id = p.run_id
)
SELECT
  day,
  model_name,
  model_version,
  count(*) AS prediction_count,
  sum(valid_to = '9999-12-31 00:00:00.000000') AS current_count,
  ${positive_count} AS positive_count,
  ${positive_share} AS positive_share,
  avg(score) AS mean_score,
  min(CASE WHEN up_to_here * 10 >= all_n * 1 THEN score END) AS decile_1,
  min(CASE WHEN up_to_here * 10 >= all_n * 2 THEN score END) AS decile_2,
  min(CASE WHEN up_to_here * 10 >= all_n * 3 THEN score END) AS decile_3,
  min(CASE WHEN up_to_here * 10 >= all_n * 4 THEN score END) AS decile_4,
  min(CASE WHEN up_to_here * 10 >= all_n * 5 THEN score END) AS decile_5,
  min(CASE WHEN up_to_here * 10 >= all_n * 6 THEN score END) AS decile_6,
  min(CASE WHEN up_to_here * 10 >= all_n * 7 THEN score END) AS decile_7,
  min(CASE WHEN up_to_here * 10 >= all_n * 8 THEN score END) AS decile_8,
  min(CASE WHEN up_to_here * 10 >= all_n * 9 THEN score END) AS decile_9,
  sum(NOT is_rescore) AS ordinary_count,
  ${ordinary_positive_count} AS ordinary_positive_count,
  sum(is_rescore) AS rescored_count
FROM ranked
GROUP BY day, model_name, model_version;
