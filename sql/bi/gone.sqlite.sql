-- Current predictions whose row is no longer in the source. Reads the whole source
SELECT "Loan_ID", prediction, score, scored_at
FROM predictions_current
WHERE ("Loan_ID") NOT IN (
  SELECT "Loan_ID" FROM "applicants"
)
ORDER BY "Loan_ID";
