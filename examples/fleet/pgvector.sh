#!/bin/sh
# Installs pgvector for this machine's PostgreSQL, as root. Debian 13 has it as a package; on Debian 12 it is built from
# Debian 13's source package, whose signature apt checks with the keys that Debian 12 has already.
set -eu

server=$(ls /usr/lib/postgresql | sort -n | tail -1)
[ -n "$server" ] || { echo 'there is no PostgreSQL: apt-get install postgresql' >&2; exit 1; }
[ ! -e "/usr/share/postgresql/$server/extension/vector.control" ] || exit 0

apt-get update -q
if apt-cache show "postgresql-$server-pgvector" >/dev/null 2>&1; then
    exec apt-get install -qy --no-install-recommends "postgresql-$server-pgvector"
fi

apt-get install -qy --no-install-recommends build-essential "postgresql-server-dev-$server"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
. /etc/os-release
mirror=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' | sed -n "s/^$VERSION_CODENAME //p" | head -1)
keys=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb-src [signed-by=$keys] $mirror trixie main" >"$folder/sources.list"
mkdir -p "$folder/lists/partial" "$folder/source"
newer() { (cd "$folder/source" && apt-get -qq -o Dir::Etc::SourceList="$folder/sources.list" \
    -o Dir::Etc::SourceParts=- -o Dir::State::Lists="$folder/lists" -o APT::Sandbox::User=root "$@"); }
newer update
newer source --download-only pgvector
cd "$folder/source"
tar -xf pgvector_*.orig.tar.*
cd pgvector-*
# Without what only this very processor knows, as Debian builds it.
make -s OPTFLAGS= with_llvm=no PG_CONFIG="/usr/lib/postgresql/$server/bin/pg_config"
make -s OPTFLAGS= with_llvm=no PG_CONFIG="/usr/lib/postgresql/$server/bin/pg_config" install
