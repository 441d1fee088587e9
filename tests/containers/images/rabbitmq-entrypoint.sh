#!/bin/sh
# What the entry point of the official RabbitMQ image does, as far as docker-compose.yml relies upon it: nothing but to
# become the server. RabbitMQ 4 reads no password from the environment of this script.
set -eu
[ "$(id -u)" -ne 0 ] || { echo "this stand-in does not start as root; set user: rabbitmq" >&2; exit 1; }
exec "$@"
