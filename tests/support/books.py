"""What a single request must leave, whatever it is: every change counted, told, and answered as it was written."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from src.persistence import relations
from src.processing.request import inbox_key
from tests.support import worlds
from tests.support.worlds import ENTITIES, MOMENTS, Rows, Sent

UNCOUNTED = {"version", "updated_at"}
BELONGS = {  # rows without a version of their own: the foreign key that names whose they are, and its table
    held.__tablename__: (name, entity.model.__tablename__)
    for entity in ENTITIES
    for _, held in relations.collections(entity.model)
    for name, parent in relations.parents(held).items()
    if parent is entity.model
}


def check(sent: Sent, answer: dict[str, Any], before: Rows, after: Rows) -> None:
    """Hold what one request has answered against what it has changed."""
    then, now = _counted(before), _counted(after)
    if _served_before(sent, before) or sent.dry or answer["state"] != "SERVED":
        assert now == then, "it has changed something"
        return
    changed = {key for key in {*then, *now} if then.get(key) != now.get(key)}
    for key in changed & {*then} & {*now}:
        _check_counted(sent, then[key], now[key])
    _check_told(sent, answer, changed, then | now)
    if not sent.operation.endswith(".delete"):
        _check_written(sent, answer["body"], now)


def _served_before(sent: Sent, rows: Rows) -> bool:
    key = f"inbox {inbox_key('', sent.key).hex()}"
    return bool(sent.key) and key in rows


def _counted(rows: Rows) -> Rows:
    """The rows that have versions, with what belongs to them; of numbers the value, of moments the moment."""
    counted: Rows = {key: {n: _value(n, v) for n, v in row.items()} for key, row in rows.items() if "version" in row}
    for key, row in rows.items():
        table = key.partition(" ")[0]
        if table in BELONGS:
            name, owner = BELONGS[table]
            counted[f"{owner} {row[name]}"][key] = row
    return counted


def _check_counted(sent: Sent, then: dict[str, Any], now: dict[str, Any]) -> None:
    if then["created_at"] != now["created_at"]:
        assert now["version"] == 1, "a row deleted and made anew begins anew"
        return
    risen = now["version"] - then["version"]
    assert 1 <= risen <= max(1, len(sent.body.get("steps", ()))), f"changed from {then} to {now}"
    assert now["updated_at"] > then["updated_at"]
    assert {name for name in then | now if then.get(name) != now.get(name)} != UNCOUNTED, "counted, and not changed"


def _check_told(sent: Sent, answer: dict[str, Any], changed: set[str], rows: Rows) -> None:
    """One event where the row that is answered has changed, none where it has not."""
    key = _key(sent, answer["body"])
    assert bool(answer["events"]) == (key in changed), f"{answer['events']}, changed: {changed}"
    for event in answer["events"]:
        assert event["body"] == answer["body"]
        assert event["version"] == rows[key]["version"]


def _check_written(sent: Sent, body: dict[str, Any], rows: Rows) -> None:
    row = rows.get(_key(sent, body), {})
    for name in row.keys() & body.keys():
        assert _value(name, body[name]) == row[name], f"{name} is not written as it is answered"


def _key(sent: Sent, body: dict[str, Any]) -> str:
    """The row that is answered; an answer may be no row."""
    table = worlds.OPERATIONS[sent.operation].entity.model.__tablename__
    return f"{table} {body.get('id')}"


def _value(name: str, told: Any) -> Any:
    match told:
        case dict():
            return {key: _value("", value) for key, value in told.items()}
        case list():
            return [_value("", value) for value in told]
        case str() if told.startswith("#"):
            return Decimal(told[1:])
        case str() if name in MOMENTS:
            return datetime.fromisoformat(told)
        case _:
            return told
