"""A new entity has what every entity has, by being declared."""

from tests.guarantees.traces import no_more
from tests.guarantees.writes import new_note
from tests.support.requester import Collected, Requester


async def test_a_new_entity_has_its_operations_and_events(db: Requester, events: Collected) -> None:
    made = (await db.ask("note.create", new_note(1))).document
    named = {"id": made["id"]}
    assert (await db.ask("note.get", named)).document == made
    changed = (await db.ask("note.update", named | {"code": "new"})).document
    assert (changed["code"], changed["version"]) == ("new", 2)
    filed = (await db.ask("note.file", named | {"version": 2})).document
    assert (filed["code"], filed["version"]) == ("filed", 3)
    assert (await db.ask("note.by_number", {"number": 1})).document == filed
    assert (await db.ask("note.list", {"where": {"code": "filed"}})).document["items"] == [filed]
    assert (await db.ask("note.count")).document == {"count": 1}
    assert (await db.ask("note.delete", named)).document == filed
    assert (await db.ask("note.exists")).document == {"exists": False}
    told = await no_more(db, events)
    assert [event.name for event in told] == ["note.created", "note.updated", "note.filed", "note.deleted"]
    assert [event.document for event in told] == [made, changed, filed, filed]
