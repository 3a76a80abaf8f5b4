#!/bin/sh
# Ask DB with Debian's amqp-tools, which can set no message_id and no correlation_id, and show a message's body only.
set -eu
# To these tools a URL's last slash is the virtual host of no name.
url=${1%/} exchange=$2 operation=$3 body=$4

replies=$(amqp-declare-queue --url "$url" --durable --queue "")
trap 'amqp-delete-queue --url "$url" --queue "$replies" >/dev/null' EXIT

amqp-publish --url "$url" --exchange "$exchange" --routing-key "$operation" --persistent \
    --content-type application/json --reply-to "$replies" --body "$body"
timeout 30 amqp-consume --url "$url" --queue "$replies" --count 1 cat
