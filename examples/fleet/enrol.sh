#!/bin/sh
# Certificates of a fleet, and one settings file for each device.
#
#     enrol.sh FOLDER broker HOST             the authority (once) and the broker's certificate
#     enrol.sh FOLDER reader NAME             a certificate for a program such as fleet.py
#     enrol.sh FOLDER device NAME HOST BASE   a certificate and lookout.toml: BASE (cameras and triggers that all devices
#                                             have in common) with the name and the broker HOST[:PORT]
#
# FOLDER/authority.key signs all of them: keep it off the devices and off the broker. What a device needs is in
# FOLDER/NAME, to be copied to its /etc/lookout and given to the user lookout. Certificates that are there stay; the
# settings are written anew.
set -eu

usage() { sed -n '4,7s/^#  *//p' "$0" >&2; exit 2; }
[ $# -ge 3 ] || usage
folder=$1 kind=$2 name=$3
days=3650
# In a topic and in an access list these would mean more than themselves.
case $name in *[!A-Za-z0-9_.-]*) echo "$name: use letters, digits, - and _" >&2; exit 1 ;; esac
umask 077
mkdir -p "$folder"

key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"; }

if [ ! -e "$folder/authority.key" ]; then
    key "$folder/authority.key"
    openssl req -x509 -new -key "$folder/authority.key" -days $days -subj "/CN=lookout fleet" -out "$folder/authority.pem"
fi

sign() { # $1: the folder, $2: what the certificate is for
    [ ! -e "$1/own.key" ] || return 0
    mkdir -p "$1"
    key "$1/own.key"
    printf 'subjectAltName=DNS:%s\nextendedKeyUsage=%s\n' "$name" "$2" >"$1/extensions"
    openssl req -new -key "$1/own.key" -subj "/CN=$name" -out "$1/request"
    openssl x509 -req -in "$1/request" -CA "$folder/authority.pem" -CAkey "$folder/authority.key" \
        -CAserial "$folder/authority.srl" -CAcreateserial -days $days -extfile "$1/extensions" -out "$1/own.pem" 2>/dev/null
    rm "$1/request" "$1/extensions"
    cp "$folder/authority.pem" "$1/authority.pem"
}

case $kind in
broker) sign "$folder/broker" serverAuth ;;
reader) sign "$folder/$name" clientAuth ;;
device)
    [ $# = 5 ] || usage
    case $name in *.*) echo "$name: a device's name has no dot" >&2; exit 1 ;; esac
    sign "$folder/$name" clientAuth
    {
        echo "device = \"$name\""
        cat "$5"
        cat <<END

[mqtt]
url = "mqtts://$4"
ca = "authority.pem"
cert = "own.pem"
key = "own.key"
embeddings = true
home_assistant = false
END
    } >"$folder/$name/lookout.toml"
    ;;
*) usage ;;
esac
