-- Keys whose predicted label changed, the latest first: the old and new label, and the reason
SELECT
  ${later_keys},
  earlier.prediction AS was,
  later.prediction AS became,
  earlier.score AS old_score,
  later.score AS new_score,
  earlier.model_version AS old_version,
  later.model_version AS new_version,
  later.valid_from AS changed_at,
  later."trigger",
  later.reason
FROM ${history} AS later
JOIN ${history} AS earlier
  ON ${earlier_is_later} AND earlier.valid_to = later.valid_from
WHERE earlier.prediction <> later.prediction
ORDER BY later.valid_from DESC, ${later_keys};
