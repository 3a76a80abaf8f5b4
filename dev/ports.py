"""Free TCP ports on this host."""

import random
import socket

# Below the ephemeral ranges of Linux and macOS: while a server is down between a kill and a restart,
# no outgoing connection can be given its port.
_RANGE = range(20_000, 32_000)


def is_free(port: int) -> bool:
    """Whether a server could listen on 127.0.0.1 at this port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free(count: int) -> list[int]:
    """So many different ports that are free now; a random choice, as nothing reserves them."""
    candidates = random.sample(_RANGE, k=len(_RANGE))
    found = [port for _, port in zip(range(count), filter(is_free, candidates), strict=False)]
    if len(found) < count:
        raise OSError(f"fewer than {count} free ports between {_RANGE.start} and {_RANGE.stop}")
    return found
