"""A client of the service for other Python programs.

::

    async with Client("amqp://guest:guest@localhost/") as db:
        session = await db.call("session.create", {"title": "Trains"})
        async with db.events("query.*") as events:
            query = await db.call("query.create", {"session_id": session["id"], "text": "When does it leave?"})
            async for event in events: ...

A reply with a problem raises the problem's class in ``errors``. The service applies the requests of one ``message_id``
once. So the client sends a request again after a lost connection, until the timeout of the call.
"""

from .client import Client
from .failures import NoReply, NoService
from .messages import Event, Options, Reply, problem

__all__ = ["Client", "Event", "NoReply", "NoService", "Options", "Reply", "problem"]
