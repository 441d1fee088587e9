#!/usr/bin/env bash
# What the entry point of the official PostgreSQL image does, as far as docker-compose.yml relies upon it: it makes the
# data once, with the superuser's password from POSTGRES_PASSWORD_FILE, and runs /docker-entrypoint-initdb.d/*.sh.
set -euo pipefail

[ "$1" = postgres ] || exec "$@"
[ "$(id -u)" -ne 0 ] || { echo "this stand-in does not start as root; set user: postgres" >&2; exit 1; }

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    mkdir -p "$PGDATA"
    chmod 700 "$PGDATA"
    [ -n "${POSTGRES_PASSWORD_FILE:-}" ] || { echo "error: the superuser has no password" >&2; exit 1; }
    initdb --username="${POSTGRES_USER:-postgres}" --pwfile="$POSTGRES_PASSWORD_FILE"
    printf '\nhost all all all scram-sha-256\n' >>"$PGDATA/pg_hba.conf"
    printf "\nlisten_addresses = '*'\n" >>"$PGDATA/postgresql.conf"
    # By the socket only: nobody outside sees a server that is half ready.
    pg_ctl -D "$PGDATA" -o "-c listen_addresses=''" -w start
    for file in /docker-entrypoint-initdb.d/*.sh; do
        [ -e "$file" ] || continue
        echo "running $file"
        if [ -x "$file" ]; then "$file"; else . "$file"; fi
    done
    pg_ctl -D "$PGDATA" -m fast -w stop
fi
exec "$@"
