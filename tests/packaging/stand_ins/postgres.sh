# What of the published image's entry point is needed: makes the database at the first start.
set -eu
chown postgres: "$PGDATA"
if [ ! -e "$PGDATA/PG_VERSION" ]; then
    install -o postgres -m 0600 "$POSTGRES_PASSWORD_FILE" /tmp/password
    setpriv --reuid postgres --regid postgres --clear-groups \
        initdb --no-sync -U "$POSTGRES_USER" --pwfile /tmp/password -A scram-sha-256 >/dev/null
    rm /tmp/password
    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
    echo "CREATE DATABASE $POSTGRES_DB" | setpriv --reuid postgres --regid postgres --clear-groups \
        postgres --single -j postgres >/dev/null
fi
exec setpriv --reuid postgres --regid postgres --clear-groups postgres -c 'listen_addresses=*'
