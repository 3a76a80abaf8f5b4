"""The health check of the image: `python -m src.admin.healthcheck PORT` exits with 0 where the service is alive.

It imports the standard library alone: it runs every few seconds, and the image has no curl.
"""

import sys
from http.client import HTTPConnection, HTTPException

TIMEOUT = 4  # seconds: less than the 5 s after which the image's HEALTHCHECK gives up
ALIVE = 200


def lives(port: int) -> bool:
    """Return whether the service at this port of the machine answers that it is alive."""
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        connection.request("GET", "/health/live")
        return connection.getresponse().status == ALIVE
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(not lives(int(sys.argv[1])))
