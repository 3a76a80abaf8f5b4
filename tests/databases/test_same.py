"""What comes back of what was written, what fits and what is equal: the same on every database.

The tests run on the database that ``DATABASE_URL`` names, else on PostgreSQL, and on SQLite besides.
"""

import json
import math
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from src.contract import fields
from src.contract.fields import Field
from src.errors import Invalid, Problem
from src.json_values import canonical
from src.models.user import User
from tests.databases.asked import OPERATIONS, Answer, Asked, decoded
from tests.support import harness

NUL, SMILE, GRIN = "\0", "\U0001f600", "\U0001f601"


@pytest.fixture(scope="module")
async def asked(postgres_url: str, template: str) -> AsyncIterator[Asked]:
    async with harness.cloned(postgres_url, template) as url, Asked.at(url) as database:
        yield database


def new() -> str:
    return uuid.uuid4().hex


JSON = [
    *("true", "1", "1.0", "1e16", "-0.0", "0.1", "123456789012345678901234567890", '"\U0001f600"', "{}", "[]", "null"),
    *('[null,{"b":1,"a":2}]', r'"a\nb\\"', '"' + "a" * 70_000 + '"', "[true,false,0,0.5]", "1e99", "1.5e-99"),
]


@pytest.mark.parametrize("text", JSON, ids=[text[:30] for text in JSON])
async def test_json_comes_back_exactly_as_it_was_answered(asked: Asked, text: str) -> None:
    made = await asked.ask("session.create", f'{{"metadata": {{"v": {text}}}}}')
    got = await asked.ask("session.get", {"id": made.body["id"]})
    told = {json.dumps(answer.body["metadata"]["v"], sort_keys=True) for answer in (made, got)}
    assert told == {json.dumps(canonical(json.loads(text)), sort_keys=True)}


async def test_true_is_not_1_and_1_is_not_a_float(asked: Asked) -> None:
    made = await asked.ask("measure.create", {"name": new(), "detail": {"v": 1}})
    for version, value in enumerate(("true", "1.0", "1"), start=2):
        changed = await asked.ask("measure.update", f'{{"id": "{made.body["id"]}", "detail": {{"v": {value}}}}}')
        got = await asked.ask("measure.get", {"id": made.body["id"]})
        assert (changed.body["version"], json.dumps(got.body["detail"])) == (version, f'{{"v": {value}}}')


PAIRS = {
    "case": ("Abc", "aBC"),
    "a space at the end": ("x", "x "),
    "a composed letter": ("e\u0301", "\u00e9"),
    "a sharp s": ("stra\u00dfe", "strasse"),
    "four bytes": (SMILE, GRIN),
    "an ignorable character": ("soft", "so\u00adft"),
}


@pytest.mark.parametrize(("one", "other"), PAIRS.values(), ids=PAIRS)
async def test_texts_are_equal_that_have_the_same_code_points(asked: Asked, one: str, other: str) -> None:
    beginning = new()
    for text in (one, other):
        made = await asked.ask("user.create", {"username": beginning + text})
        assert (made.kind, made.body.get("username")) == ("user.create", beginning + text)
        assert (await asked.ask("user.create", {"username": beginning + text})).kind == "conflict"
        assert (await asked.ask("user.count", {"where": {"username": beginning + text}})).body == {"count": 1}


async def test_text_is_ordered_by_code_point(asked: Asked) -> None:
    email = new()
    texts = ["", " ", "B", "Z", "_", "a", "a ", "b", "z", "\u00e9", "\u0434", "\uffff", SMILE, GRIN]
    for text in texts[::-1]:
        await asked.ask("user.create", {"username": new(), "name": text, "email": email})
    listed = await asked.ask("user.list", {"where": {"email": email}, "order": ["name"]})
    assert [row["name"] for row in listed.body["items"]] == texts
    listed = await asked.ask("user.list", {"where": {"email": email}, "order": ["-name"]})
    assert [row["name"] for row in listed.body["items"]] == texts[::-1]


async def test_ids_are_ordered_by_their_bytes(asked: Asked) -> None:
    email = new()
    ids = sorted(str(uuid.uuid4()) for _ in range(20))
    for row_id in ids[::-1]:
        await asked.ask("user.create", {"id": row_id, "username": new(), "email": email})
    listed = await asked.ask("user.list", {"where": {"email": email}, "order": ["id"]})
    assert [row["id"] for row in listed.body["items"]] == ids


NULLS = {
    ("name",): ["a", "b", None],
    ("-name",): [None, "b", "a"],
    ("name:first",): [None, "a", "b"],
    ("name:last",): ["a", "b", None],
    ("-name:first",): [None, "b", "a"],
    ("-name:last",): ["b", "a", None],
    ("version", "name:first"): [None, "a", "b"],
}


@pytest.mark.parametrize("order", NULLS, ids=" ".join)
async def test_nulls_come_first_or_last_as_asked(asked: Asked, order: tuple[str, ...]) -> None:
    email = new()
    for name in ("b", None, "a"):
        await asked.ask("user.create", {"username": new(), "name": name, "email": email})
    listed = await asked.ask("user.list", {"where": {"email": email}, "order": order})
    assert [row["name"] for row in listed.body["items"]] == NULLS[order]


async def test_a_null_is_equal_to_null_alone(asked: Asked) -> None:
    email = new()
    for name in ("", None):
        await asked.ask("user.create", {"username": new(), "name": name, "email": email})
    for name in ("", None):
        listed = await asked.ask("user.list", {"where": {"email": email, "name": name}})
        assert [row["name"] for row in listed.body["items"]] == [name]


async def test_a_field_without_nulls_cannot_say_where_they_come(asked: Asked) -> None:
    assert (await asked.ask("user.list", {"order": ["username:first"]})).kind == "invalid"
    assert (await asked.ask("user.list", {"order": ["name:middle"]})).kind == "invalid"


MOMENTS = ("2026-01-31T12:00:00.123456Z", "2026-01-31T13:00:00.123456+01:00", "1970-01-01T00:00:00.000001Z")


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_time_is_kept_to_the_microsecond_in_utc(asked: Asked, moment: str) -> None:
    name = new()
    made = await asked.ask("measure.create", {"name": name, "taken_at": moment})
    got = await asked.ask("measure.get", {"id": made.body["id"]})
    utc = moment.replace("T13", "T12").replace("+01:00", "Z")
    assert (got.body["taken_at"], got.body["created_at"]) == (utc, made.body["created_at"])
    found = await asked.ask("measure.list", {"where": {"name": name, "taken_at": moment}})
    assert [row["id"] for row in found.body["items"]] == [made.body["id"]]


SEARCHES = {
    "case": ("hello", "HELLO World", "yellow"),
    "case of other letters": ("ärger", "ÄRGER", "arger"),
    "a percent sign": ("0%", "100%", "1000"),
    "an underscore": ("a_b", "a_b", "axb"),
    "a backslash": (r"k\s", r"back\slash", "backslash"),
    "four bytes": (SMILE, f"a{SMILE}", f"a{GRIN}"),
}


@pytest.mark.parametrize(("text", "fitting", "passed"), SEARCHES.values(), ids=SEARCHES)
async def test_a_search_finds_a_text_in_any_case(asked: Asked, text: str, fitting: str, passed: str) -> None:
    chat = await asked.ask("chat.create", {"platform": new(), "external_id": "1"})
    for content in (fitting, passed):
        message = {"chat_id": chat.body["id"], "role": "user", "content": content}
        assert (await asked.ask("message.create", message)).kind == "message.create"
    searched = await asked.ask("message.search", {"text": text, "chat_id": chat.body["id"]})
    assert [row["content"] for row in searched.body["items"]] == [fitting]


@pytest.mark.parametrize("size", [70_000, 1_000_000])
async def test_a_long_text_comes_back_whole(asked: Asked, size: int) -> None:
    chat = await asked.ask("chat.create", {"platform": new(), "external_id": "1"})
    for content in ("x" * size, SMILE * (size // 4), "\\" * size):
        made = await asked.ask("message.create", {"chat_id": chat.body["id"], "role": "user", "content": content})
        got = await asked.ask("message.get", {"id": made.body["id"]})
        assert got.body["content"] == content


async def test_the_longest_keys_fit(asked: Asked) -> None:
    longest = {"platform": GRIN * 200, "external_id": SMILE * 200}
    assert (await asked.ask("chat.create", longest)).kind == "chat.create"
    assert (await asked.ask("chat.create", longest)).kind == "conflict"
    assert (await asked.ask("measure.create", {"name": GRIN * 255, "place": SMILE * 255})).kind == "measure.create"


# What is refused

EXAMPLE = fields.EXAMPLES["uuid"]
NUMBERS = [sign * 2**power + more for power in (15, 31, 63, 64) for sign in (1, -1) for more in (0, -1, 1)]
TEXTS = [*("x" * size for size in (0, 5, 6, 20, 21, 200, 255, 256, 70_000)), SMILE * 255, SMILE * 256, f"a{NUL}b"]
TIMES = [
    *("0001-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "0001-01-02T00:00:00Z", "0001-01-03T00:00:00+23:59"),
    *("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999-23:59", "9999-12-30T00:00:00Z"),
]
FLOATS = [1.7976931348623157e308, -1.5, 0.1]
JSONS = [{NUL: 1}, {"a": [{"b": NUL}]}, {"a": 10**40}, {"a": SMILE}]
EXTREMES: list[Any] = [*NUMBERS, 10**40, 10**400, *TEXTS, *TIMES, *FLOATS, *JSONS, [NUL], [EXAMPLE] * 2, True, None]
REFUSALS = {"invalid", "conflict", "not-found", "foreign-key", "illegal-transition", "version-mismatch", "too-large"}


def bodies(given: list[Field]) -> Iterator[dict[str, Any]]:
    """The least that an operation asks for, with each of its fields in turn at each extreme."""
    least = {field.name: field.example for field in given if field.required}
    for field in given:
        for value in EXTREMES:
            yield least | {field.name: value}
            for inner in field.fields:
                yield least | {field.name: {inner.name.rpartition(".")[2]: value}}


@pytest.fixture(scope="module")
async def seeded(asked: Asked) -> Asked:
    """There is a row of every entity under the id that examples have."""
    for name in ("user", "session", "query", "chat", "message", "task", "log", "measure"):
        given = fields.of(OPERATIONS[f"{name}.create"].request)
        least = {field.name: field.example for field in given if field.required}
        own = {key: f"{value} of the first" for key, value in least.items() if key in {"username", "platform", "name"}}
        made = await asked.ask(f"{name}.create", least | own | {"id": EXAMPLE})
        assert made.kind == f"{name}.create"
    return asked


@pytest.mark.parametrize("key", OPERATIONS)
async def test_whatever_is_said_to_an_operation_is_served_or_refused(seeded: Asked, key: str) -> None:
    requests, refused = [], 0
    for body in bodies(fields.of(OPERATIONS[key].request)):
        try:
            requests.append(decoded(key, json.dumps(body), dry_run=OPERATIONS[key].writes))
        except Problem:
            refused += 1
    answers: list[Answer] = []
    for beginning in range(0, len(requests), 100):
        answers += await seeded.apply(OPERATIONS[key], requests[beginning : beginning + 100])
    assert {answer.kind for answer in answers} <= REFUSALS | {key}
    assert refused
    assert len(answers) == len(requests)


BOUNDS = {
    "small": (2**15 - 1, 2**15),
    "number": (-(2**31), -(2**31) - 1),
    "big": (2**63 - 1, 2**63),
    "short": ("x" * 5, "x" * 6),
    "place": (SMILE * 255, "x" * 256),
    "ratio": (math.nextafter(math.inf, 0), 10**400),
    "taken_at": ("9999-12-30T00:00:00Z", "9999-12-31T00:00:00Z"),
}


@pytest.mark.parametrize("name", BOUNDS)
async def test_a_column_holds_its_extremes_and_its_schema_refuses_more(asked: Asked, name: str) -> None:
    most, more = BOUNDS[name]
    made = await asked.ask("measure.create", {"name": new(), name: most})
    got = await asked.ask("measure.get", {"id": made.body["id"]})
    assert (got.body[name], made.body[name]) == (most, most)
    assert (await asked.ask("measure.exists", {"where": {name: most}})).body == {"exists": True}
    requests = {
        "create": {"name": new(), name: more},
        "update": {"id": made.body["id"], name: more},
        "list": {"where": {name: more}},
        "count": {"where": {name: more}},
        "exists": {"where": {name: more}},
    }
    for operation, body in requests.items():
        refusal = await asked.ask(f"measure.{operation}", body)
        pointer = f"/where/{name}" if "where" in body else f"/{name}"
        assert (refusal.kind, [each["pointer"] for each in refusal.body["errors"]]) == ("invalid", [pointer])


NULS = {
    "/name": {"name": NUL},
    "/detail": {"name": "n", "detail": {NUL: 1}},
    "/detail/a/0/b": {"name": "n", "detail": {"a": [{"b": f"x{NUL}"}]}},
    "/detail/a/1": {"name": "n", "detail": {"a": [{}, {f"x{NUL}": 1}]}},
    "": {"name": "n", NUL: 1},
}


@pytest.mark.parametrize("pointer", NULS)
def test_a_nul_is_refused_from_the_bytes_with_a_pointer(pointer: str) -> None:
    with pytest.raises(Problem) as raised:
        decoded("measure.create", json.dumps(NULS[pointer]))
    assert [each["pointer"] for each in raised.value.errors] == [pointer]
    assert raised.value.name() == "invalid"


COMPARISONS = {
    "equal": User.name == NUL,
    "one of": User.name.in_(["x", NUL]),
    "a part": User.name.contains(NUL, autoescape=True),
    "a part in any case": User.name.icontains(NUL, autoescape=True),
}


@pytest.mark.parametrize("comparison", COMPARISONS.values(), ids=COMPARISONS)
async def test_a_nul_is_refused_by_a_statement_of_ones_own(asked: Asked, comparison: Any) -> None:
    with pytest.raises(Invalid):
        async with asked.database.reading() as session:
            await session.scalars(sa.select(User.id).where(comparison))
