#!/bin/sh
# Makes, in the folder $1, a CA of your own and with it a certificate for a Redis server of the name `redis`, for ten years.
# Where a CA is there already, with its key, it signs another certificate, which clients take as they took the last one.
# ca.key is needed for further certificates alone: keep it elsewhere.
set -eu
umask 077
mkdir -p "$1" && cd "$1" && chmod 755 .
if [ -e ca.crt ] && [ ! -e ca.key ]; then
  echo "make_tls.sh: $1/ca.crt has no ca.key beside it: bring it back, or remove ca.crt for a CA that no client knows yet" >&2
  exit 1
fi
[ -e ca.key ] || openssl req -x509 -newkey rsa:3072 -nodes -days 3650 -subj "/CN=TopClip CA" -keyout ca.key -out ca.crt 2>/dev/null
openssl req -newkey rsa:3072 -nodes -subj "/CN=redis" -keyout redis.key -out redis.csr 2>/dev/null
echo "subjectAltName=DNS:redis" >redis.ext
openssl x509 -req -in redis.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 -extfile redis.ext -out redis.crt 2>/dev/null
rm redis.csr redis.ext
chmod 644 ca.crt redis.crt
