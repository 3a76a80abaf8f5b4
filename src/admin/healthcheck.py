"""The health check of the image, `python -m src.admin.healthcheck PORT`: 0 where the service says that it lives.

It needs the standard library alone, for it runs every few seconds, and an image has no curl.
"""

import sys
from http.client import HTTPConnection, HTTPException

SECONDS = 4
ALIVE = 200


def lives(port: int) -> bool:
    """Whether the service at this port of ours answers, and that it lives."""
    connection = HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("GET", "/health/live")
        return connection.getresponse().status == ALIVE
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(not lives(int(sys.argv[1])))
