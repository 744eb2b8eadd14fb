#!/usr/bin/env bash
# A private PostgreSQL for tests: listens on a socket only, runs as a user that is not root, and is gone afterwards.
#
#   tests/postgres.sh FOLDER [SETTING=VALUE …]
#
# Makes a cluster in FOLDER (or in the system's folder for temporary files, where FOLDER cannot be used by the user it
# runs as, or is too long a path for a socket), prints `url …` once it answers, and stops it when its standard input
# ends: with the process that holds the other end, however that dies. Installs the distribution's package where there
# is no PostgreSQL and that is allowed.
set -euo pipefail

say() { printf 'tests/postgres.sh: %s\n' "$*" >&2; }

programs() {
    local found
    for found in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /opt/homebrew/opt/postgresql*/bin; do
        if [ -x "$found/initdb" ]; then printf '%s\n' "$found"; fi
    done | sort -V | tail -n 1
}

bin=$(programs)
if [ -z "$bin" ] && command -v initdb >/dev/null && command -v postgres >/dev/null; then
    bin=$(dirname "$(command -v initdb)")
fi
if [ -z "$bin" ] && command -v apt-get >/dev/null; then
    as_root=()
    [ "$(id -u)" = 0 ] || as_root=(sudo -n)
    say "installing PostgreSQL"
    if "${as_root[@]}" apt-get update -q >&2 && "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qy postgresql >&2; then
        bin=$(programs)
    fi
fi
if [ -z "$bin" ]; then
    say "there is no PostgreSQL on this machine, and it cannot be installed from here."
    say "Install your distribution's package (Debian: apt-get install postgresql), or set STEPHERD_TEST_DATABASE_URL to"
    say "a server where the tests may create databases: postgres://user:password@host/postgres"
    exit 3
fi

# PostgreSQL refuses to run as root.
as_user=()
owner=$(id -un)
if [ "$(id -u)" = 0 ]; then
    owner=nobody
    id postgres >/dev/null 2>&1 && owner=postgres
    as_user=(setpriv --reuid "$owner" --regid "$(id -g "$owner")" --clear-groups --)
fi

folder=$1
shift
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
chown "$owner" "$folder"
if [ "${#folder}" -gt 80 ] || ! "${as_user[@]}" test -w "$folder" 2>/dev/null; then
    rmdir "$folder"
    folder=$(mktemp -d "${TMPDIR:-/tmp}/stepherd-pg.XXXXXX")
    chown "$owner" "$folder"
fi
chmod 700 "$folder"

server=
stop() {
    if [ -n "$server" ]; then
        # Nobody needs what is in it.
        kill -QUIT "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$folder"
}
trap stop EXIT
trap 'exit 1' INT TERM HUP

cd "$folder"
"${as_user[@]}" "$bin/initdb" -D "$folder/data" -A trust -U stepherd -E UTF8 --locale=C --no-sync >"$folder/log" 2>&1 || {
    cat "$folder/log" >&2
    exit 1
}
settings=(-c fsync=off -c max_connections=400)
for setting in "$@"; do settings+=(-c "$setting"); done
"${as_user[@]}" "$bin/postgres" -D "$folder/data" -k "$folder" -c listen_addresses= "${settings[@]}" >>"$folder/log" 2>&1 </dev/null &
server=$!
for _ in $(seq 100); do
    "$bin/pg_isready" -q -h "$folder" && break
    kill -0 "$server" 2>/dev/null || break
    sleep 0.1
done
"$bin/pg_isready" -q -h "$folder" || {
    cat "$folder/log" >&2
    exit 1
}
printf 'url postgres://stepherd@localhost/postgres?host=%s\n' "$folder"
while read -r _; do :; done
