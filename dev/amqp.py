"""Whether a broker lets a client in."""

import pika
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import AMQPError

_SECONDS = 3.0


def lets_in(url: str) -> bool:
    """Whether the broker at `url` takes its credentials; a broker that still boots does not."""
    parameters = pika.URLParameters(url)
    parameters.socket_timeout = parameters.stack_timeout = parameters.blocked_connection_timeout = _SECONDS
    try:
        pika.BlockingConnection(parameters).close()
    except (AMQPError, AMQPConnectorException, OSError):  # the second: nothing came in time
        return False
    return True
