"""As much of AMQP 0-9-1 as it takes to learn whether a broker lets a client in."""

import socket
import struct

_SECONDS = 3.0
_PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
_METHOD_FRAME = 1
_FRAME_END = 0xCE
_START = (10, 10)
_START_OK = (10, 11)
_TUNE = (10, 30)


def lets_in(port: int, *, user: str = "guest", password: str = "guest", seconds: float = _SECONDS) -> bool:  # noqa: S107
    """Whether a broker at 127.0.0.1 takes these credentials; a broker that still boots does not."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=seconds) as client:
            client.sendall(_PROTOCOL_HEADER)
            if _read_method(client) != _START:
                return False
            client.sendall(_start_ok(user, password))
            return _read_method(client) == _TUNE
    except (OSError, EOFError):
        return False


def _start_ok(user: str, password: str) -> bytes:
    mechanism, locale = b"PLAIN", b"en_US"
    response = f"\0{user}\0{password}".encode()
    payload = b"".join(
        (
            struct.pack(">HHI", *_START_OK, 0),
            struct.pack(">B", len(mechanism)) + mechanism,
            struct.pack(">I", len(response)) + response,
            struct.pack(">B", len(locale)) + locale,
        )
    )
    return struct.pack(">BHI", _METHOD_FRAME, 0, len(payload)) + payload + bytes((_FRAME_END,))


def _read_method(client: socket.socket) -> tuple[int, int] | None:
    kind, _, size = struct.unpack(">BHI", _read(client, 7))
    payload = _read(client, size + 1)
    if kind != _METHOD_FRAME or payload[-1] != _FRAME_END:
        return None
    group, method = struct.unpack(">HH", payload[:4])
    return group, method


def _read(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = client.recv(size - len(data))
        if not part:
            raise EOFError("the broker hung up")
        data += part
    return data
