"""Speak to the service from another Python program.

::

    async with Client("amqp://guest:guest@localhost/") as db:
        session = await db.call("session.create", {"title": "Trains"})
        async with db.events("query.*") as events:
            query = await db.call("query.create", {"session_id": session["id"], "text": "When does it leave?"})
            async for event in events: ...

A problem that the service answers is raised as its class in ``errors``. What is sent under one ``message_id`` is
applied once, however often it is sent: so a call whose connection is lost is sent again, until its timeout.
"""

from .client import Client
from .failures import NoReply, NoService
from .messages import Event, Options, Reply, problem

__all__ = ["Client", "Event", "NoReply", "NoService", "Options", "Reply", "problem"]
