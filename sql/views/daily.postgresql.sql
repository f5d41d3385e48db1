CREATE OR REPLACE VIEW ${daily} AS
WITH bucket AS (
  SELECT
    (p.valid_from AT TIME ZONE 'UTC')::date AS day,
    p.run_id,
    p.model_version,
    least(floor(p.score * 200), 199)::integer AS place,
    count(*) AS n,
    count(*) FILTER (WHERE p.valid_to = TIMESTAMPTZ '9999-12-31 00:00:00+00') AS current_n,
    count(*) FILTER (WHERE p.prediction = ${positive_label}) AS positive_n,
    sum(p.score) AS total,
    max(p.score) AS highest
  FROM ${all_predictions} AS p
  GROUP BY 1, 2, 3, 4
),
ranked AS (
  SELECT
    b.day,
    r.model_name,
    b.model_version,
    b.place,
    sum(b.n) AS n,
    sum(b.current_n) AS current_n,
    sum(b.positive_n) AS positive_n,
    sum(b.n) FILTER (WHERE r."trigger" = 'rescore') AS rescored_n,
    sum(b.positive_n) FILTER (WHERE r."trigger" = 'rescore') AS rescored_positive_n,
    sum(b.total) AS total,
    max(b.highest) AS highest,
    sum(sum(b.n)) OVER (PARTITION BY b.day, r.model_name, b.model_version ORDER BY b.place) AS up_to_here,
    sum(sum(b.n)) OVER (PARTITION BY b.day, r.model_name, b.model_version) AS all_n
  FROM bucket AS b
  JOIN ${scoring_runs} AS r ON r.run_id = b.run_id
  GROUP BY b.day, r.model_name, b.model_version, b.place
)
SELECT
  day,
  model_name,
  model_version,
  sum(n)::bigint AS prediction_count,
  sum(current_n)::bigint AS current_count,
  ${positive_count} AS positive_count,
  ${positive_share} AS positive_share,
  sum(total) / sum(n)::double precision AS mean_score,
  min(highest) FILTER (WHERE up_to_here * 10 >= all_n * 1) AS decile_1,
  min(highest) FILTER (WHERE up_to_here * 10 >= all_n * 2) AS decile_2,
  min(highest) FILTER (WHERE up_to_here * 10 >= all_n * 3) AS decile_3,
  min(highest) FILTER (WHERE up_to_here * 10 >= all_n * 4) AS decile_4,
  min(highest) FILTER (WHERE up_to_here * 10 >= all_n * 5) AS decile_5,
  min(highest) FILTER (WHERE up_to_here * 10 >= all_n * 6) AS decile_6,
  min(highest) FILTER (WHERE up_to_here * 10 >= all_n * 7) AS decile_7,
  min(highest) FILTER (WHERE up_to_here * 10 >= all_n * 8) AS decile_8,
  min(highest) FILTER (WHERE up_to_here * 10 >= all_n * 9) AS decile_9,
  (sum(n) - coalesce(sum(rescored_n), 0))::bigint AS ordinary_count,
  ${ordinary_positive_count} AS ordinary_positive_count,
  coalesce(sum(rescored_n), 0)::bigint AS rescored_count
FROM ranked
GROUP BY day, model_name, model_version;

${daily_comments}
