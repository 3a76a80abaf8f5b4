"""JSON whose numbers are kept as they are written: ``"#1e16"`` stands for the number 1e16, ``"#1.0"`` for 1.0."""

import json
import re
from typing import Any


def encode(document: Any) -> bytes:
    """The document as JSON, each ``"#…"`` in it as the number that it stands for."""
    return re.sub(r'"#([^"]*)"', r"\1", json.dumps(document)).encode()


def decode(body: str | bytes) -> Any:
    """What the JSON says, each number as ``"#…"``."""
    return json.loads(body, parse_int=_keep, parse_float=_keep, parse_constant=_keep)


def _keep(number: str) -> str:
    return f"#{number}"
