"""The Python client of DB: ``Client``, what it hands out, and the problems that it raises: ``errors``."""

from . import errors
from .client import Client, Event, NoReply, NoService, Options, Reply, problem

__all__ = ["Client", "Event", "NoReply", "NoService", "Options", "Reply", "errors", "problem"]
