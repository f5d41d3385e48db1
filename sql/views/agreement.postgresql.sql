CREATE OR REPLACE VIEW ${agreement} AS
SELECT
  r.model_name,
  p.model_version,
  c.model_version AS challenger_version,
  count(*) AS prediction_count,
  count(*) FILTER (WHERE p.prediction IS NOT DISTINCT FROM c.prediction) AS agreeing_count,
  (count(*) FILTER (WHERE p.prediction IS NOT DISTINCT FROM c.prediction))::double precision / count(*) AS agreeing_share,
  avg(abs(p.score - c.score)) AS mean_absolute_difference,
  corr(p.score, c.score) AS correlation,
  min(p.valid_from) AS first_scored_at,
  max(p.valid_from) AS last_scored_at
FROM ${challengers} AS c
JOIN ${all_predictions} AS p ON p.valid_from = c.valid_from AND ${challenger_of_key}
JOIN ${scoring_runs} AS r ON r.run_id = p.run_id
GROUP BY r.model_name, p.model_version, c.model_version;

COMMENT ON VIEW ${agreement} IS 'Champion and challengers: one row per pair of versions that scored the same rows';
COMMENT ON COLUMN ${agreement}.model_name IS 'The model';
COMMENT ON COLUMN ${agreement}.model_version IS 'The version whose predictions count';
COMMENT ON COLUMN ${agreement}.challenger_version IS 'The version that scored the same rows for comparison';
COMMENT ON COLUMN ${agreement}.prediction_count IS 'Predictions, current and superseded, that both versions gave';
COMMENT ON COLUMN ${agreement}.agreeing_count IS 'Those of them with the same label';
COMMENT ON COLUMN ${agreement}.agreeing_share IS 'Share of them, 0 to 1';
COMMENT ON COLUMN ${agreement}.mean_absolute_difference IS 'Mean absolute difference of the scores; NULL without scores';
COMMENT ON COLUMN ${agreement}.correlation IS 'Pearson''s correlation of the scores; NULL where one is constant';
COMMENT ON COLUMN ${agreement}.first_scored_at IS 'Time of the first of these predictions, UTC';
COMMENT ON COLUMN ${agreement}.last_scored_at IS 'Time of the last of them, UTC';
