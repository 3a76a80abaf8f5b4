"""Between AMQP and processing: take, decode, apply, settle, ack."""
