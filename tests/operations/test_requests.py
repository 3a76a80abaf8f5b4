"""What each operation does, over the wire."""

import uuid

import pytest

from src import errors
from src.client import Client


async def test_an_entity_is_created_read_updated_listed_counted_and_deleted(client: Client) -> None:
    made = await client.call("session.create", {"title": "hello", "metadata": {"a": [1, None]}})
    assert (made["version"], made["status"], made["metadata"]) == (1, "open", {"a": [1, None]})
    assert await client.call("session.get", {"id": made["id"]}) == made
    changed = await client.call("session.update", {"id": made["id"], "title": None, "version": 1})
    assert (changed["title"], changed["version"], changed["metadata"]) == (None, 2, made["metadata"])
    assert changed["updated_at"] > made["updated_at"]
    assert await client.call("session.list", {"where": {"title": None}}) == {"items": [changed], "next": None}
    assert await client.call("session.count", {"where": {"status": "open"}}) == {"count": 1}
    assert await client.call("session.exists", {"where": {"status": "closed"}}) == {"exists": False}
    assert await client.call("session.delete", {"id": made["id"]}) == changed
    with pytest.raises(errors.NotFound):
        await client.call("session.get", {"id": str(uuid.uuid4())})
