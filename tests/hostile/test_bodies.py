"""Hostile bodies: each gets one problem and has no effect, and what is only odd is kept as it is."""

import json
import uuid

import pytest

from tests.hostile.bench import CREATE, MEBIBYTE, SECRET, Bench, assert_answered


def created(value: str) -> bytes:
    """A session whose metadata is this JSON."""
    return f'{{"title": "xyzzy", "metadata": {value}}}'.encode()


BAD_BODIES: dict[str, tuple[str, bytes]] = {
    "empty": ("malformed", b""),
    "null": ("malformed", b"null"),
    "an array": ("malformed", b"[]"),
    "a string": ("malformed", b'"xyzzy"'),
    "a number": ("malformed", b"1"),
    "truncated": ("malformed", b'{"title": "xyz'),
    "with trailing garbage": ("malformed", CREATE + b" xyzzy"),
    "two documents": ("malformed", CREATE * 2),
    "not UTF-8": ("malformed", b'{"title": "xyzzy\xff"}'),
    "UTF-16": ("malformed", '{"title": "xyzzy"}'.encode("utf-16")),
    "with a byte order mark": ("malformed", b"\xef\xbb\xbf" + CREATE),
    "a lone surrogate": ("malformed", rb'{"title": "xyzzy\ud800"}'),
    "a raw NUL": ("malformed", b'{"title": "xyzzy\0"}'),
    "100,000 nested arrays": ("malformed", created("[" * 100_000 + "]" * 100_000)),
    "100,000 nested objects": ("malformed", created('{"a":' * 100_000 + "1" + "}" * 100_000)),
    "NaN": ("malformed", created("NaN")),
    "Infinity": ("malformed", created('{"a": -Infinity}')),
    "duplicate keys": ("malformed", b'{"title": "a", "title": "xyzzy"}'),
    "duplicate keys deep inside": ("malformed", created('{"a": [{"b": 1, "b": 2}]}')),
    "1e999": ("invalid", created('{"a": 1e999}')),
    "400 digits and a point": ("invalid", created(f'{{"a": {"9" * 400}.0}}')),
    "300 digits and an exponent": ("invalid", created(f'{{"a": {"1" * 300}e20}}')),
    "an id that looks like a number, and 1e999": (
        "invalid",
        b'{"id": "1e300e20-0000-4000-8000-0000000001e9", "metadata": {"a": 1e999}}',
    ),
    "nested 120 deep": ("invalid", created('{"a":' * 120 + "1" + "}" * 120)),
    "an integer of 5,000 digits": ("malformed", created(f'{{"a": [{"9" * 5000}]}}')),
    "NUL in text": ("invalid", rb'{"title": "xyzzy\u0000"}'),
    "NUL in JSON": ("invalid", created(r'{"a": ["xyzzy\u0000"]}')),
    "NUL in a key of JSON": ("invalid", created(r'{"xyzzy\u0000": 1}')),
    "a number for a string": ("invalid", b'{"title": 1, "metadata": {"a": "xyzzy"}}'),
    "an array for an object": ("invalid", created("[]")),
    "null for an object": ("invalid", created("null")),
    "an unknown field": ("invalid", b'{"title": "xyzzy", "is_admin": true}'),
    "an unknown field of 1,000 characters": ("invalid", b'{"%s": 1}' % (b"xyzzy" * 200)),
    "a field of the service's own": ("invalid", b'{"title": "xyzzy", "created_at": "2026-01-01T00:00:00Z"}'),
    "a version in a create": ("invalid", b'{"title": "xyzzy", "version": 7}'),
    "the attribute's name in place of the field's": ("invalid", b'{"title": "xyzzy", "meta": {}}'),
    "a UUID malformed": ("invalid", b'{"id": "xyzzy"}'),
    "a UUID with a digit too many": ("invalid", b'{"id": "00000000-0000-0000-0000-0000000000000"}'),
    "200,000 keys": ("too-large", json.dumps({f"xyzzy{n}": n for n in range(200_000)}).encode()),
    "60,000 unknown fields": ("invalid", json.dumps({f"k{n}": n for n in range(60_000)}).encode()),
    "text of 10 MB": ("too-large", b'{"title": "%s"}' % (b"x" * 10 * MEBIBYTE)),
    "16 MB": ("too-large", b"\0" * 16 * MEBIBYTE),
    "one byte too many": ("too-large", b'{"title": "%s"}' % (b"x" * (MEBIBYTE - 12))),
}


@pytest.mark.parametrize(("expected", "body"), BAD_BODIES.values(), ids=BAD_BODIES)
async def test_a_bad_body_is_answered_with_a_problem(bench: Bench, expected: str, body: bytes) -> None:
    document = await assert_answered(bench, expected, "session.create", body)
    assert SECRET not in json.dumps(document).replace(SECRET * 10, "")  # an unknown field is named, no value is


@pytest.mark.parametrize("operation", ["session.list", "query.complete"])
async def test_a_bad_body_of_any_operation_is_answered_with_a_problem(bench: Bench, operation: str) -> None:
    await assert_answered(bench, "malformed", operation, b'{"where": xyzzy}')


GOOD_BODIES: dict[str, bytes] = {
    "at the limit": b'{"title": "%s"}' % (b"x" * (MEBIBYTE - 13)),
    "with an id and a title that look like numbers": (
        b'{"id": "1e300e20-0000-4000-8000-0000000001e9", "title": "a:1e999,1e999 [1e999", "metadata": {"a": 1e15}}'
    ),
    "with large numbers": created(f'{{"a": [{2**63 - 1}, {-(2**63)}, {2**64}, {10**300}, 1e15]}}'),
    "nested 90 deep": created('{"a":' * 90 + "1" + "}" * 90),
    "with newlines, ANSI escapes and %s": rb'{"title": "xyzzy\n\u001b[31m%s%n{}"}',
    "with emoji and a surrogate pair": r'{"title": "🤖\ud83e\udd16"}'.encode(),
    "with 50,000 keys": created(json.dumps({f"k{n}": n for n in range(50_000)})),
}


@pytest.mark.parametrize("body", GOOD_BODIES.values(), ids=GOOD_BODIES)
async def test_an_odd_body_is_kept_as_it_is(bench: Bench, body: bytes) -> None:
    name = str(uuid.uuid4())
    await bench.send("session.create", body, {"correlation_id": name, "reply_to": bench.address, "message_id": name})
    answer, sent = json.loads((await bench.answer(name)).body), json.loads(body)
    assert {field: answer[field] for field in sent} == sent
    assert await bench.client.call("session.get", {"id": answer["id"]}) == answer
