"""Ask DB with pika."""

import json
import sys

import pika

url, exchange, operation, body, message_id, correlation_id = sys.argv[1:]

with pika.BlockingConnection(pika.URLParameters(url)) as connection:
    channel = connection.channel()
    channel.confirm_delivery()
    replies = channel.queue_declare("", exclusive=True).method.queue
    request = pika.BasicProperties(
        content_type="application/json",
        delivery_mode=pika.DeliveryMode.Persistent,
        message_id=message_id,  # sent again under the same one, it is applied once
        correlation_id=correlation_id,
        reply_to=replies,
    )
    channel.basic_publish(exchange, operation, body.encode(), request, mandatory=True)
    _, reply, answer = next(channel.consume(replies, auto_ack=True, inactivity_timeout=30))
    if reply is None:
        raise TimeoutError("no answer; it may be asked again under the same message_id")

told = {"type": reply.type, "content_type": reply.content_type, "correlation_id": reply.correlation_id}
json.dump({"body": answer.decode()} | told, sys.stdout)
