-- The predictions that were current at a time
SELECT ${keys}, prediction, score
FROM ${history}
WHERE valid_from <= ${timestamp} AND ${timestamp} < valid_to
ORDER BY ${keys};
