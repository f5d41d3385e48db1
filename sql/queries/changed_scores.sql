-- The hundred largest changes of a predicted value: the old and new value, and the reason
SELECT
  ${later_keys},
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
ORDER BY abs(later.score - earlier.score) DESC, ${later_keys}
LIMIT 100;
