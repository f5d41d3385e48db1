-- Current predictions whose row the source no longer gives. Reads the whole source
SELECT "Loan_ID", prediction, score, scored_at
FROM predictions_gone()
ORDER BY "Loan_ID";
