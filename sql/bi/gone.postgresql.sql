-- Current predictions whose row is no longer in the source. Reads the whole source
SELECT "Loan_ID", prediction, score, scored_at
FROM predictions_gone()
ORDER BY "Loan_ID";
