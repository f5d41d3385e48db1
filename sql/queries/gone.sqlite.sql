-- Current predictions whose row is no longer in the source. Reads the whole source
SELECT ${keys}, prediction, score, scored_at
FROM ${current}
WHERE (${keys}) NOT IN (
  ${source_keys}
)
ORDER BY ${keys};
