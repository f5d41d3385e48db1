#!/bin/sh
# Two logins besides the administrator of the server: lending_owner owns the tables and upgrades them, lending_scorer runs
# jobs and gets the privileges of the role scorer. Run once by the image of PostgreSQL, when the database is created.
set -eu
secrets="${SECRETS:-/run/secrets}"
psql --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
  --set database="$POSTGRES_DB" \
  --set owner_password="$(cat "$secrets/owner_password")" \
  --set scorer_password="$(cat "$secrets/scorer_password")" <<'SQL'
CREATE ROLE lending_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE lending_scorer LOGIN PASSWORD :'scorer_password';
ALTER DATABASE :"database" OWNER TO lending_owner;
ALTER SCHEMA public OWNER TO lending_owner;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
SQL
