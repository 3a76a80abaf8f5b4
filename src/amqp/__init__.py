"""What speaks AMQP: bytes and properties on this side, requests and outcomes on the other. No SQL."""
