"""docs/reference.md, written from the source: ``python -m dev.reference``."""

import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import config
from src import models, wire
from src.base import RowRef
from src.consumers.decoder import MOST_ERRORS
from src.contract import fields, problems, reference
from src.contract.fields import Field
from src.contract.reference import Description
from src.entity import Entity
from src.errors import PREFIX
from src.json_values import DEEPEST

PAGE = Path(__file__).parent.parent / "docs/reference.md"
CONTENT_TYPES = ("application/json", "application/json; charset=utf-8")
ENCODINGS = ("utf-8", "us-ascii", "binary", "identity")

HEAD = """# Reference

Written from the source by `make reference`; a test holds it against it. One operation alone: `./db operations NAME`.
`db` stands for the service's name (`SERVICE_NAME`) throughout.

## Requests

A request is a JSON object in UTF-8, published to the exchange `db.requests` under the routing key
`<entity>.<operation>`. Fields that an operation does not name are refused, and so is a value of another type: a number
is no text, `"1"` is no number. What is said of a request beside its body:
"""

REQUEST = (
    ("property", "meaning"),
    (
        "`message_id`",
        "the idempotency key of a write: what is sent again under it is applied once, answered the same",
    ),
    ("`reply_to`", "where the answer goes; a queue, or `amq.rabbitmq.reply-to`. Without it nobody is answered"),
    ("`correlation_id`", "is that of the answer and of the events; the `message_id` where there is none"),
    ("`user_id`", "the sender, which RabbitMQ checks. Each has idempotency keys of its own, and so have those without"),
    ("`expiration`", "milliseconds that the request may wait in its queue"),
    ("`content_type`", " or ".join(f"`{each}`" for each in CONTENT_TYPES) + "; may be absent"),
    ("`content_encoding`", ", ".join(f"`{each}`" for each in ENCODINGS) + "; may be absent. Nothing is decompressed"),
    ("`delivery_mode`", "2, or a restart of RabbitMQ loses the request"),
)

HEADERS = (
    ("header", "type", "meaning"),
    (f"`{wire.PARTITION_KEY}`", "text", "requests of one key are applied in their order; none is a key too"),
    (f"`{wire.DEADLINE}`", "RFC 3339 date-time with an offset, or an AMQP timestamp", "is not served after it"),
    (f"`{wire.DRY_RUN}`", "boolean", "is answered as if it were done, and changes nothing"),
    (f"`{wire.TRACEPARENT}`", "text, as W3C Trace Context has it", "is handed on to the answer and the events"),
)

WHERE = """
### where, order, limit

`list`, `count` and `exists` choose rows by `where`: each of its fields must be equal to the value given, and `null` is
a value. Every field of an entity can be compared but JSON objects and lists. `order` names up to eight fields, `-`
before those that descend; text is ordered by code point. Behind a field that may be null, `:first` or `:last` says
where the nulls come (`-title:last`); else they come last, and first where it descends. `list` answers with up to
`limit` rows (1 to 1,000) from `offset` on, and with the next page's offset in `next`, which is null after the last.
"""

ANSWERS = """
## Answers

An answer goes to `reply_to`, with the request's `correlation_id`. Its `type` is the operation, its content type
`application/json`. Of a request that was not served the content type is `application/problem+json` (RFC 9457) and the
`type` the problem's. A problem has `type`, `title`, `status`, `detail`, `errors` (each with a `pointer` into the body,
RFC 6901, and a `message`, never a value) and `retryable`.

`retryable` says that this is not final: the same `message_id` may be sent again, and may be answered otherwise. Every
other answer to a write stays what it is.
"""

UNKNOWN = """
Any operation may answer {always}; any write {writes}. Those that an operation may answer besides are named with it.

`unknown-operation` has a member more: `version`, the version of the service that answered. The same version answers the
same again, so ask again only when another one does. Its `detail` names the nearest operations.

`rate-limited` has one too: `retry_after`, the seconds after which to ask again. Where the service has a `RATE_LIMIT` it
is that of each `user_id`, and of all without one together; a write that was served before is answered as it was.

A dead letter (`./db dead`) names its problem in the header `reason`, or says `unanswered` (its problem could not be
delivered) or `kills-process` (the service died of it three times).
"""

EVENTS = """
## Events

An event is published to the topic exchange `db.events` under its name, `<entity>.<past tense>`, where something
changed. Its body is the row after the change (of a deletion the row before it), as the operation answers it; its
content type is `application/json`. It comes at least once, always under the same `message_id`, and has the request's
`correlation_id`.
"""

EVENT_HEADERS = (
    ("header", "meaning"),
    (f"`{wire.CLOUD_EVENT}id`", "the same as `message_id`"),
    (f"`{wire.CLOUD_EVENT}type`", "the event's name"),
    (f"`{wire.CLOUD_EVENT}source`", "`/db`"),
    (
        f"`{wire.CLOUD_EVENT}subject`",
        "the row's id; of a refusal the id that the request names; absent where it names none",
    ),
    (f"`{wire.CLOUD_EVENT}time`", "when it happened, RFC 3339 in UTC"),
    (f"`{wire.CLOUD_EVENT}specversion`", "`1.0`"),
    (f"`{wire.ENTITY_VERSION}`", "the row's version; absent of a refusal"),
    (f"`{wire.CAUSATION_ID}`", "the request's `message_id`, if it has one"),
    (f"`{wire.TRACEPARENT}`", "the request's, if it is well formed"),
)


def main() -> int:
    """Write the page."""
    PAGE.write_bytes(page())
    return 0


def page() -> bytes:
    """The page, as it must be."""
    entities = models.entities()
    known = reference.describe(entities)
    lines = [HEAD, _table(REQUEST), "", _table(HEADERS), *_limits(), WHERE, ANSWERS, _problems(), _unknown(), EVENTS]
    lines += [_table(EVENT_HEADERS), *_refusals(list(known.values())), "", "## Entities"]
    for entity in entities:
        lines += _entity(entity, [known[operation.key] for operation in entity.operations()])
    return (re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n").encode()


def _limits() -> Iterator[str]:
    default = {name: field.default for name, field in config.Settings.model_fields.items()}
    yield ""
    yield (
        f"A body has up to {default['max_body']:,} bytes (`MAX_BODY`) and {DEEPEST} levels, an answer up to "
        f"{default['max_answer']:,} bytes (`MAX_ANSWER`), a problem up to {MOST_ERRORS} `errors`. A read waits up to "
        f"{default['read_ttl']} seconds (`READ_TTL`). Text without a length below is limited by that of the body alone."
    )


def _problems() -> str:
    rows = [
        (f"`{each.name()}`", str(each.status), "yes" if each.retryable else "no", inspect.cleandoc(each.__doc__ or ""))
        for each in problems.known(models.entities())
    ]
    return _table([(f"type, after `{PREFIX}`", "status", "retryable", "meaning"), *rows])


def _unknown() -> str:
    always, writes = (", ".join(f"`{each.name()}`" for each in kinds) for kinds in (problems.ALWAYS, problems.WRITES))
    return UNKNOWN.format(always=always, writes=writes)


def _refusals(known: Sequence[Description]) -> Iterator[str]:
    """The names that end in ``failed``: those of refusals, and the events that are called so."""
    own = [f"`{each.event}`" for each in known if (each.event or "").endswith(".failed")]
    yield ""
    yield (
        "A write with an event that is refused for good has one as well, `<entity>.<operation>.failed` (such as "
        "`query.complete.failed`), whose body is the problem. The pattern `#.failed` catches every one of them, "
        f"and besides the events that are called so ({', '.join(own)}); `*.*.failed` catches the refusals alone."
    )


def _entity(entity: Entity, known: Sequence[Description]) -> Iterator[str]:
    yield ""
    yield f"### {entity.name}"
    yield ""
    yield inspect.cleandoc(inspect.getdoc(inspect.getmodule(entity.model)) or "")
    yield ""
    yield _table([("field", "type", "create", "update"), *_rows(entity, {each.operation.name: each for each in known})])
    yield ""
    yield _table([("operation", "what it does", "request", "answer", "event", "problems"), *map(_operation, known)])
    for each in known:
        if not each.operation.common:
            yield from _details(each)


def _rows(entity: Entity, known: dict[str, Description]) -> Iterator[tuple[str, ...]]:
    """Each field of the entity; what is said of it to create and to update, with the type where that is narrower."""
    for field in fields.of(entity.read, "serialization"):
        cells = (_asked(known.get(name), field) for name in ("create", "update"))
        yield (f"`{field.name}`", field.type, *cells)


def _asked(description: Description | None, field: Field) -> str:
    found = [each for each in description.request if each.name == field.name] if description else []
    if not found or description is None:
        return "–"
    narrower = f"{found[0].type}; " if found[0].type != field.type else ""
    return narrower + description.absent(found[0])


def _operation(description: Description) -> tuple[str, ...]:
    request = ", ".join(f"`{each.name}`{'' if each.required else '?'}" for each in description.request)
    return (
        f"`{description.key}`",
        description.title,
        request,
        description.answer,
        f"`{description.event}`" if description.event else "–",
        ", ".join(f"`{each.name()}`" for each in problems.beside(description.operation)) or "–",
    )


def _details(description: Description) -> Iterator[str]:
    """The fields of a request or an answer that no table above has."""
    operation, above = description.operation, {"id", "version"}
    if operation.name in {"create", "update"}:
        above |= {field.name for field in fields.of(operation.entity.read, "serialization")}
    asked = [each for each in description.request if each.name not in above]
    if asked:
        yield ""
        yield f"`{description.key}` asks for:{_note(description)}"
        yield ""
        yield _table([("field", "type", "absent"), *((f"`{f.name}`", f.type, description.absent(f)) for f in asked)])
    if description.answered:
        yield ""
        yield f"`{description.key}` answers with:"
        yield ""
        yield _table([("field", "type"), *((f"`{field.name}`", field.type) for field in description.answered)])


def _note(description: Description) -> str:
    """What the schema says of itself, if it is the operation's own."""
    request = description.operation.request
    note = None if request is RowRef else request.__dict__.get("__doc__")
    return f" {inspect.cleandoc(note).replace('``', '`')}" if note else ""


def _table(rows: Iterable[Sequence[str]]) -> str:
    head, *body = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *body))


if __name__ == "__main__":
    sys.exit(main())
