# A private Postgres server for tests, on 127.0.0.1 only and gone at the end. To be sourced by bash:
#
#   make_postgres           finds Postgres (installs Debian's package if it is missing and we are root), makes a
#                           cluster in a temporary folder and starts it; POSTGRES_PORT is where, the user is vectoros
#   stop_postgres MODE      fast or immediate
#   start_postgres          again, on the same port
#   remove_postgres
#
# The POSTGRES_ variables are exported, so that a child that sources this file can stop and start the server.

# The directory with initdb and pg_ctl, the newest version first.
find_postgres() {
    local found
    found=$(command -v pg_ctl || true)
    if [[ -n $found && -x $(dirname "$found")/initdb ]]; then
        dirname "$found"
        return
    fi
    found=$(find /usr/lib/postgresql /usr/pgsql-* /opt/homebrew/opt/postgresql* /usr/local/opt/postgresql* \
        -path '*/bin/initdb' 2>/dev/null | sort -V | tail -n 1 || true)
    if [[ -n $found ]]; then dirname "$found"; fi
}

# Postgres refuses to run as root.
as_postgres() {
    if [[ -z $POSTGRES_OWNER ]]; then
        "$@"
    else
        (cd "$POSTGRES_FOLDER" && runuser -u "$POSTGRES_OWNER" -- "$@")
    fi
}

start_postgres() {
    # Durability against loss of power is not what the tests look at; everything else is as in production.
    local settings="-c listen_addresses=127.0.0.1 -c port=$POSTGRES_PORT -c unix_socket_directories=$POSTGRES_FOLDER"
    settings+=" -c fsync=off -c max_connections=200"
    as_postgres "$POSTGRES_BIN/pg_ctl" -D "$POSTGRES_FOLDER/data" -l "$POSTGRES_FOLDER/log" -o "$settings" -w start \
        >/dev/null 2>&1
}

stop_postgres() {
    as_postgres "$POSTGRES_BIN/pg_ctl" -D "$POSTGRES_FOLDER/data" -m "$1" -w stop >/dev/null 2>&1
}

remove_postgres() {
    stop_postgres immediate || true
    rm -rf "$POSTGRES_FOLDER"
}

make_postgres() {
    POSTGRES_BIN=$(find_postgres)
    if [[ -z $POSTGRES_BIN && $EUID -eq 0 ]] && command -v apt-get >/dev/null; then
        echo "$0: no Postgres found, installing Debian's package" >&2
        apt-get update -q >&2
        DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends postgresql >&2
        POSTGRES_BIN=$(find_postgres)
    fi
    if [[ -z $POSTGRES_BIN ]]; then
        echo "$0: no Postgres server found: install one (Debian: apt-get install postgresql) or put initdb and pg_ctl into PATH" >&2
        return 2
    fi

    POSTGRES_FOLDER=$(mktemp -d "${TMPDIR:-/tmp}/vectoros-test-XXXXXX")
    POSTGRES_OWNER=
    if [[ $EUID -eq 0 ]]; then
        POSTGRES_OWNER=nobody
        if id postgres >/dev/null 2>&1; then POSTGRES_OWNER=postgres; fi
        chown "$POSTGRES_OWNER" "$POSTGRES_FOLDER"
    fi
    export POSTGRES_BIN POSTGRES_FOLDER POSTGRES_OWNER POSTGRES_PORT
    as_postgres "$POSTGRES_BIN/initdb" -D "$POSTGRES_FOLDER/data" -U vectoros --auth=trust -E UTF8 --locale=C --no-sync \
        >/dev/null

    # A port that is free now may be taken a moment later: try another.
    local attempt
    for attempt in 1 2 3 4 5; do
        POSTGRES_PORT=$((20000 + RANDOM % 30000))
        if start_postgres; then return; fi
        echo "$0: attempt $attempt: Postgres did not start:" >&2
        cat "$POSTGRES_FOLDER/log" >&2 || true
    done
    return 1
}
