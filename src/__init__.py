"""DB: the data of a conversational platform, spoken to through RabbitMQ."""

__version__ = "0.1.0"
