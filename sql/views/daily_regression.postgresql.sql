CREATE OR REPLACE VIEW ${daily} AS
SELECT
  g.day,
  g.model_name,
  g.model_version,
  g.prediction_count,
  g.current_count,
  NULL::bigint AS positive_count,
  NULL::double precision AS positive_share,
  g.mean_score,
  g.deciles[1] AS decile_1,
  g.deciles[2] AS decile_2,
  g.deciles[3] AS decile_3,
  g.deciles[4] AS decile_4,
  g.deciles[5] AS decile_5,
  g.deciles[6] AS decile_6,
  g.deciles[7] AS decile_7,
  g.deciles[8] AS decile_8,
  g.deciles[9] AS decile_9,
  g.prediction_count - g.rescored_count AS ordinary_count,
  NULL::bigint AS ordinary_positive_count,
  g.rescored_count
FROM (
  SELECT
    (p.valid_from AT TIME ZONE 'UTC')::date AS day,
    r.model_name,
    p.model_version,
    count(*) AS prediction_count,
    count(*) FILTER (WHERE p.valid_to = TIMESTAMPTZ '9999-12-31 00:00:00+00') AS current_count,
    count(*) FILTER (WHERE r."trigger" = 'rescore') AS rescored_count,
    avg(p.score) AS mean_score,
    percentile_disc(ARRAY[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]) WITHIN GROUP (ORDER BY p.score) AS deciles
  FROM ${all_predictions} AS p
  JOIN ${scoring_runs} AS r ON r.run_id = p.run_id
  GROUP BY 1, 2, 3
) AS g;

${daily_comments}
