"""Plays the conversations through the client, and notes what must be true afterwards."""

import asyncio
import uuid
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from examples.demo.conversations import CONVERSATIONS, USERS, Conversation, End, Question
from src.client import Client, Reply

PAST = {
    "create": "created",
    "start": "started",
    "complete": "completed",
    "fail": "failed",
    "cancel": "cancelled",
    "close": "closed",
}

type Rows = dict[str, dict[str, dict[str, Any]]]
"""By entity and id."""


@dataclass(frozen=True)
class Asked:
    """A write, its answer, and the event that must tell of it."""

    operation: str
    body: dict[str, Any]
    partition_key: str | None
    message_id: str
    reply: Reply

    @property
    def event(self) -> tuple[str, str, int]:
        """Its name, the id and the version of its entity."""
        entity, _, verb = self.operation.partition(".")
        answer = self.reply.answer()
        return f"{entity}.{PAST[verb]}", answer["id"], answer["version"]


@dataclass
class Play:
    """``sent`` has the rows as the requests wanted them, ``answered`` as the last answers had them."""

    db: Client
    asked: list[Asked] = field(default_factory=list)
    sent: Rows = field(default_factory=lambda: defaultdict(lambda: defaultdict(dict)))
    answered: Rows = field(default_factory=lambda: defaultdict(dict))

    async def run(self) -> None:
        """All conversations at once, each in its own order. Raises what the client raises."""
        users = await asyncio.gather(*(self.write("user.create", user) for user in USERS))
        ids = {user["username"]: user["id"] for user in users}
        await asyncio.gather(*(self._converse(one, ids) for one in CONVERSATIONS))

    async def write(
        self, operation: str, body: dict[str, Any], partition_key: str | None = None, **effect: object
    ) -> dict[str, Any]:
        """Ask, and note it. ``effect`` is what the request changes besides what its body says."""
        message_id = str(uuid.uuid4())
        reply = await self.db.request(operation, body, message_id=message_id, partition_key=partition_key)
        answer = reply.answer()
        self.asked.append(Asked(operation, body, partition_key, message_id, reply))
        entity, row_id = operation.partition(".")[0], answer["id"]
        self.sent[entity][row_id] |= body | effect
        self.answered[entity][row_id] = answer
        return answer

    async def _converse(self, conversation: Conversation, users: dict[str, str]) -> None:
        session_id = str(uuid.uuid4())
        session = {
            "id": session_id,
            "user_id": users[conversation.username] if conversation.username else None,
            "title": conversation.title,
            "metadata": {"channel": "demo", "questions": len(conversation.questions)},
        }
        await self.write("session.create", session, session_id, status="open")
        for question in conversation.questions:
            await self._ask(question, session_id)
        if conversation.closed:
            await self.write("session.close", {"id": session_id}, session_id, status="closed")

    async def _ask(self, question: Question, session_id: str) -> None:
        body = {"session_id": session_id, "text": question.text, "metadata": {"letters": len(question.text)}}
        query = await self.write("query.create", body, session_id, status="pending")
        this = {"id": query["id"]}
        if question.end in {End.STARTED, End.COMPLETED, End.FAILED}:
            await self.write("query.start", this, session_id, status="in_progress")
        match question.end:
            case End.COMPLETED:
                response = {"response": {"text": question.said}}
                await self.write("query.complete", this | response, session_id, status="completed")
            case End.FAILED:
                await self.write("query.fail", this | {"error": question.said}, session_id, status="failed")
            case End.CANCELLED:
                await self.write("query.cancel", this, session_id, status="cancelled")
            case End.STARTED | End.UNTOUCHED:
                pass
