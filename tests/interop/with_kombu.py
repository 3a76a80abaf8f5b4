"""Ask DB with kombu."""

import json
import sys

from kombu import Connection, Consumer, Message, Producer, Queue, uuid

url, exchange, operation, body, message_id, correlation_id = sys.argv[1:]
replies = Queue(uuid(), exclusive=True)
answers: list[Message] = []

with (
    Connection(url, transport_options={"confirm_publish": True}) as connection,
    Consumer(connection, [replies], on_message=answers.append, no_ack=True),
):
    Producer(connection).publish(
        json.loads(body),
        exchange=exchange,
        routing_key=operation,
        message_id=message_id,  # sent again under the same one, it is applied once
        correlation_id=correlation_id,
        reply_to=replies.name,
    )
    while not answers:
        connection.drain_events(timeout=30)

(answer,) = answers
told = {"type": answer.properties["type"], "correlation_id": answer.properties["correlation_id"]}
json.dump({"body": bytes(answer.body).decode(), "content_type": answer.content_type} | told, sys.stdout)
