#!/bin/sh
# As the official image's: an empty database is set up once, on a port of its own.
set -eu
if [ "${DOCKER_INFLUXDB_INIT_MODE:-}" = setup ] && [ ! -e "$INFLUXD_BOLT_PATH" ]; then
    influxd --http-bind-address 127.0.0.1:9999 & pid=$!
    until curl -sf -o /dev/null http://127.0.0.1:9999/health; do sleep 0.1; done
    curl -sSf -o /dev/null http://127.0.0.1:9999/api/v2/setup -d "{\"username\":\"$DOCKER_INFLUXDB_INIT_USERNAME\",\"password\":\"$(cat $DOCKER_INFLUXDB_INIT_PASSWORD_FILE)\",\"org\":\"$DOCKER_INFLUXDB_INIT_ORG\",\"bucket\":\"$DOCKER_INFLUXDB_INIT_BUCKET\",\"token\":\"$(cat $DOCKER_INFLUXDB_INIT_ADMIN_TOKEN_FILE)\"}"
    kill $pid; wait $pid || true
fi
exec influxd
