-- The body is a string, so that the source can be dropped and created again, which a view on it would prevent. The body
-- is not checked here, since the source may not exist yet.
CREATE OR REPLACE FUNCTION ${gone}() RETURNS SETOF ${current}
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = ${search_path} SET check_function_bodies = off
AS $$${tag}$$
SELECT c.*
FROM ${current} AS c
WHERE NOT EXISTS (
  SELECT 1
  FROM (
    ${source_keys}
  ) AS s
  WHERE ${same_key}
)
$$${tag}$$;

REVOKE ALL ON FUNCTION ${gone}() FROM PUBLIC;

COMMENT ON FUNCTION ${gone}() IS 'The current predictions whose row is no longer in the source: it was deleted, or the condition of the job excludes it; reads the whole source';
