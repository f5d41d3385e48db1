-- The predictions that were current at a time, by the function
SELECT ${keys}, prediction, score
FROM ${as_of}(${timestamp})
ORDER BY ${keys};
