"""How an outcome is stored in the inbox: msgpack, compressed by zlib if it is large."""

import zlib

import msgpack

from src.processing.outcome import Event, Outcome, State

COMPRESS_FROM = 1024  # bytes
FORMAT = 1
"""Version of the encoding. A field that is added at the end leaves it; a change of it needs code that reads both."""

_STATES = {state.value for state in State}
_ZLIB = 0x78  # the first byte of a zlib stream, and of no msgpack array of less than 16


def encode(outcome: Outcome) -> bytes:
    """Encode an outcome for the table. An event body that equals the answer is not stored again."""
    events = [
        (event.name, event.subject, event.version, event.time, None if event.body == outcome.body else event.body)
        for event in outcome.events
    ]
    packed: bytes = msgpack.packb(
        (FORMAT, outcome.state.value, outcome.type, outcome.content_type, outcome.body, events)
    )
    return zlib.compress(packed) if len(packed) >= COMPRESS_FROM else packed


def decode(stored: bytes) -> Outcome:
    """Decode a stored outcome, which lacks only the error behind it.

    Another version may have stored it while both run: fields that it has added at the end are ignored.
    """
    packed = zlib.decompress(stored) if stored[0] == _ZLIB else stored
    values = msgpack.unpackb(packed)
    if isinstance(values[1], str):  # the first ones have no number of their format
        values = (0, *values)
    _format, state, kind, content_type, body, events, *_ = values
    return Outcome(
        state=State(state) if state in _STATES else State.SERVED,
        type=kind,
        body=body,
        content_type=content_type,
        events=tuple(
            Event(name, subject, version, time, body if own is None else own)
            for name, subject, version, time, own, *_ in events
        ),
    )
