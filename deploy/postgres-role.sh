#!/bin/sh
# Run once by the PostgreSQL image, when it has made its data: the database `jobsched` and the role that owns it.
#
# The role is no superuser, so its password gives access to this database and nothing else: no other database, no file
# of the server, no program on its host. The superuser is left for `docker compose exec postgres psql -U postgres`: it
# has no password, so no client signs in as it over the network.
set -eu

psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username postgres --dbname postgres <<'SQL'
-- A statement that fails must not leave the password in the log.
SET log_min_error_statement = panic;
\set password `cat /run/secrets/postgres/jobsched-password`
CREATE ROLE jobsched LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION PASSWORD :'password';
CREATE DATABASE jobsched OWNER jobsched;
-- What `doctor` shows of the server: its figures and settings, no row of any table.
GRANT pg_read_all_stats, pg_read_all_settings TO jobsched;
REVOKE ALL ON DATABASE jobsched, postgres, template1 FROM PUBLIC;
ALTER ROLE postgres PASSWORD NULL;
SQL
