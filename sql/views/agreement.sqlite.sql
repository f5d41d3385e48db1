DROP VIEW IF EXISTS ${agreement};

-- Champion and challengers: one row per pair of versions that scored the same rows. Times are UTC.
CREATE VIEW ${agreement} AS
SELECT
  r.model_name,
  p.model_version,
  c.model_version AS challenger_version,
  count(*) AS prediction_count,
  sum(p.prediction IS c.prediction) AS agreeing_count,
  avg(p.prediction IS c.prediction) AS agreeing_share,
  avg(abs(p.score - c.score)) AS mean_absolute_difference,
  CASE
    WHEN count(p.score * c.score) > 1 AND min(p.score) < max(p.score) AND min(c.score) < max(c.score) THEN
      (count(*) * sum(p.score * c.score) - sum(p.score) * sum(c.score))
      / sqrt(
        (count(*) * sum(p.score * p.score) - sum(p.score) * sum(p.score))
        * (count(*) * sum(c.score * c.score) - sum(c.score) * sum(c.score))
      )
  END AS correlation,
  min(p.valid_from) AS first_scored_at,
  max(p.valid_from) AS last_scored_at
FROM ${challengers} AS c
JOIN ${all_predictions} AS p ON p.valid_from = c.valid_from AND ${challenger_of_key}
JOIN scoring_runs AS r ON r.run_id = p.run_id
GROUP BY r.model_name, p.model_version, c.model_version;
