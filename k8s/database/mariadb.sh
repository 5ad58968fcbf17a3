#!/bin/sh
# The image mariadb:10.11 of the local cluster: Debian's server, with the settings of the official image
# as far as database.yaml uses them.
set -eu
PATH=$PATH:/usr/sbin:/usr/local/sbin
# It refuses to be started by root without being told who it is to be.
[ "$(id -u)" != 0 ] || set -- --user=root "$@"

mkdir -p "$DATA_DIR"
folder=$(cd "$DATA_DIR" && pwd)
if [ ! -d "$folder/data" ]; then
    # An installation that was broken off is made anew.
    rm -rf "$folder/new"
    mariadb-install-db --no-defaults --datadir="$folder/new" --tmpdir="$TMPDIR" \
        --auth-root-authentication-method=normal --skip-test-db "$@"
    mv "$folder/new" "$folder/data"
fi

cat >"$TMPDIR/init.sql" <<EOF
CREATE DATABASE IF NOT EXISTS $MARIADB_DATABASE;
CREATE USER IF NOT EXISTS root@'%';
GRANT ALL ON *.* TO root@'%' WITH GRANT OPTION;
EOF
# Pods share the machine: it listens at the pod's address alone, and is small.
exec mariadbd --no-defaults --datadir="$folder/data" --tmpdir="$TMPDIR" \
    --socket="$TMPDIR/socket" --pid-file="$TMPDIR/pid" --init-file="$TMPDIR/init.sql" \
    --bind-address="$POD_IP" --port=3306 --skip-name-resolve \
    --innodb-buffer-pool-size=16M --innodb-log-file-size=8M "$@"
