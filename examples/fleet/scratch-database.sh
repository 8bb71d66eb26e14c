#!/bin/sh
# A PostgreSQL of one's own in FOLDER, for trying and for tests: it is reached by a socket in FOLDER alone.
#
#     scratch-database.sh start FOLDER      prints how to connect
#     scratch-database.sh stop FOLDER
set -eu

[ $# = 2 ] || { echo 'usage: scratch-database.sh start|stop FOLDER' >&2; exit 2; }
folder=$(realpath "$2")
server=$(ls /usr/lib/postgresql 2>/dev/null | sort -n | tail -1)
[ -n "$server" ] || { echo 'there is no PostgreSQL: apt-get install postgresql' >&2; exit 1; }
# PostgreSQL refuses to run as root.
if [ "$(id -u)" = 0 ]; then
    chown postgres "$folder"
    as='setpriv --reuid postgres --regid postgres --clear-groups env HOME=/'
else
    as=
fi
run() { tool=$1; shift; (cd / && $as "/usr/lib/postgresql/$server/bin/$tool" "$@"); }

case $1 in
start)
    if [ ! -e "$folder/data" ]; then
        run initdb --no-sync --auth trust --username postgres --encoding UTF8 --locale C -D "$folder/data" >/dev/null
        cat >"$folder/settings" <<END
listen_addresses = ''
unix_socket_directories = '$folder'
${SETTINGS:-}
END
        cat "$folder/settings" >>"$folder/data/postgresql.conf"
    fi
    run pg_ctl -D "$folder/data" -l "$folder/data/log" -w -t 120 start >/dev/null
    echo "host=$folder user=postgres dbname=postgres"
    ;;
stop) run pg_ctl -D "$folder/data" -m fast -w stop >/dev/null ;;
*) echo 'usage: scratch-database.sh start|stop FOLDER' >&2; exit 2 ;;
esac
