-- Keys whose predicted label changed, the latest first: the old and new label, and the reason
SELECT
  later."Loan_ID",
  earlier.prediction AS was,
  later.prediction AS became,
  earlier.score AS old_score,
  later.score AS new_score,
  earlier.model_version AS old_version,
  later.model_version AS new_version,
  later.valid_from AS changed_at,
  later."trigger",
  later.reason
FROM predictions_history AS later
JOIN predictions_history AS earlier
  ON earlier."Loan_ID" = later."Loan_ID" AND earlier.valid_to = later.valid_from
WHERE earlier.prediction <> later.prediction
ORDER BY later.valid_from DESC, later."Loan_ID";
