"""One batch, one transaction: what becomes of requests, without a word of AMQP."""
