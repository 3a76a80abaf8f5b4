"""Dead letters, looked at, sent again and dropped by way of the command line: none is lost, none is applied twice."""

import asyncio
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from typing import Any

import aio_pika
import pytest

import config
from src.cli import dead_letters
from src.cli.target import Target
from src.client import Client
from src.service import Service
from tests.support import forked, harness, pages, requester
from tests.support.forked import Ended
from tests.support.requester import Requester

LIST, SHOW, REPLAY, DROP = pages.commands(pages.README, r"\./db dead")
EXAMPLE = "0a1b2c3d4e5f"  # the letter of the page
LETTERS = 50  # up to 32 keep their order whatever one does
ODD = '\n\x1b[31m"%s'


@pytest.fixture
async def db(service: Service, settings: config.Settings) -> AsyncIterator[Requester]:
    """A requester of the running service, which has no dead letters yet."""
    async with requester.asking(settings) as asking, raw(settings) as channel:
        queue = await channel.get_queue(harness.names(settings).dead)
        await queue.purge()
        yield asking


def raw(settings: config.Settings) -> Any:
    return harness.channel(settings.rabbitmq_url.get_secret_value())


async def dead(settings: config.Settings, *command: str) -> Ended:
    return await asyncio.to_thread(forked.run, "main.py", "dead", *command, **harness.environment(settings))


async def listed(settings: config.Settings) -> list[list[str]]:
    """The words of each line."""
    ended = await dead(settings, "list")
    assert ended.code == 0, ended.err
    return [line.split() for line in ended.out.splitlines()]


async def ids(settings: config.Settings) -> list[str]:
    return [words[0] for words in await listed(settings)]


async def left(settings: config.Settings, count: int) -> None:
    """Wait until there are so many dead letters."""

    async def there() -> bool:
        return await harness.depth(settings, harness.names(settings).dead) == count

    await harness.eventually(there, f"{count} dead letters")


async def die(db: Requester, settings: config.Settings, *message_ids: str | None, **more: Any) -> str:
    """Have a query die for each id, whose session does not exist; that session's id."""
    had, session = await harness.depth(settings, harness.names(settings).dead), str(uuid.uuid4())
    for message_id in message_ids:
        body = {"session_id": session, "text": "Where?"}
        await db.publish("query.create", body, message_id, **{"reply_to": None, **more})
    await left(settings, had + len(message_ids))
    return session


async def queries(client: Client, session: str) -> int:
    return int((await client.call("query.count", {"where": {"session_id": session}}))["count"])


async def served(client: Client, db: Requester) -> None:
    """Return when all that was asked before has been served."""
    await db.ask("session.create")
    await client.call("session.create")


async def looked(settings: config.Settings, capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """As ``listed``, without a process."""
    await dead_letters._list(
        Target(settings.rabbitmq_url.get_secret_value(), settings.dsn, settings.service_name), LETTERS
    )
    return [line.split() for line in capsys.readouterr().out.splitlines()]


async def test_fifty_looks_lose_no_letter_and_keep_their_order(
    db: Requester, settings: config.Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    await die(db, settings, *(f"m{number}" for number in range(LETTERS)))
    looks = [await looked(settings, capsys) for _ in range(50)]
    assert [words[-1] for words in looks[0]] == [f"m{number}" for number in range(LETTERS)]
    assert [[words[0] for words in look] for look in looks] == [[words[0] for words in looks[0]]] * 50
    assert len({words[0] for words in looks[0]}) == LETTERS
    assert await ids(settings) == [words[0] for words in looks[0]]


async def test_a_line_says_what_a_letter_is_and_show_prints_all_of_it(db: Requester, settings: config.Settings) -> None:
    session = await die(db, settings, "m", headers={"partition-key": "p"}, reply_to="", user_id="guest")
    ((letter, age, unit, size, *said),) = await listed(settings)
    assert (age.isdecimal(), unit, said) == (True, "s", ["foreign-key", "query.create", "m"])
    body = f'{{"session_id":"{session}","text":"Where?"}}'
    assert int(size) == len(body)
    shown = (await dead(settings, "show", letter)).out.splitlines()
    assert shown[-2:] == ["", body]
    assert {"message_id: m", "header reason: urn:db:problem:foreign-key", "header partition-key: p"} <= {*shown}
    assert "header sender: guest" in shown
    assert await ids(settings) == [letter]


async def test_list_stops_at_its_limit_and_says_how_many_there_are(db: Requester, settings: config.Settings) -> None:
    await die(db, settings, "a", "b", "c")
    ended = await dead(settings, "list", "--limit", "2")
    assert [line.split()[-1] for line in ended.out.splitlines()] == ["a", "b"]
    assert ended.err == "2 dead letters of 3; --limit shows more\n"
    await left(settings, 3)


async def test_a_letter_that_is_sent_again_is_served_once_and_gone(
    db: Requester, client: Client, settings: config.Settings
) -> None:
    session = await die(db, settings, "m", "n")
    first, second = await ids(settings)
    await client.call("session.create", {"id": session})
    ended = await dead(settings, "replay", first)
    assert (ended.code, ended.err) == (0, "1 replayed\n")
    assert ended.out.startswith(f"{first}  replayed as ")
    assert await ids(settings) == [second]
    await served(client, db)
    assert await queries(client, session) == 1
    assert (await dead(settings, "replay", "--all")).code == 0
    await served(client, db)
    assert await queries(client, session) == 2
    await left(settings, 0)


DIES = """
import os, sys
from src.dead_letters.queue import DeadLetterQueue
DeadLetterQueue.{method} = lambda *_, **__: os._exit(9)
import main
main.app()
"""


async def killed(settings: config.Settings, method: str, *command: str) -> None:
    """Run the command, which dies where it would call the method."""
    program = [sys.executable, "-c", DIES.format(method=method), "dead", *command]
    environment = harness.environment(settings)
    ended = await asyncio.to_thread(
        subprocess.run, program, cwd=harness.ROOT, env=environment, capture_output=True, check=False
    )
    assert ended.returncode == 9, ended.stderr


@pytest.mark.parametrize("message_id", ["m", None])
async def test_a_replay_that_dies_before_the_letter_is_acked_is_applied_once(
    db: Requester, client: Client, settings: config.Settings, message_id: str | None
) -> None:
    session = await die(db, settings, message_id)
    (letter,) = await ids(settings)
    await client.call("session.create", {"id": session})
    for method in ("remove", "remove", "replay"):
        await killed(settings, method, "replay", letter)
        await left(settings, 1)
    assert (await dead(settings, "replay", letter)).code == 0
    await served(client, db)
    assert await queries(client, session) == 1
    await left(settings, 0)


async def test_letters_of_two_senders_or_without_an_id_are_not_taken_for_each_other(
    db: Requester, client: Client, settings: config.Settings
) -> None:
    session = await die(db, settings, "m", None, None)
    body = {"session_id": session, "text": "Where?"}
    await db.publish("query.create", body, "m", reply_to=None, user_id="guest")
    await left(settings, 4)
    await client.call("session.create", {"id": session})
    await dead(settings, "replay", "--all")
    await served(client, db)
    assert await queries(client, session) == 4


async def test_a_replay_that_dies_again_is_another_request_the_next_time(
    db: Requester, client: Client, settings: config.Settings
) -> None:
    session = await die(db, settings, "m")
    seen = set()
    for number in (1, 2):
        (letter,) = await ids(settings)
        assert (await dead(settings, "replay", "--all")).err == "1 replayed\n"
        await left(settings, 1)
        (again,) = await ids(settings)
        assert f"header replay: {number}" in (await dead(settings, "show", again)).out
        seen |= {letter, again}
    assert len(seen) == 3
    await client.call("session.create", {"id": session})
    await dead(settings, "replay", "--all")
    await served(client, db)
    assert await queries(client, session) == 1


async def test_a_replay_says_what_the_request_said_but_for_who_waits_and_how_long(
    db: Requester, settings: config.Settings
) -> None:
    headers = {"partition-key": "p", "deadline": "2999-01-01T00:00:00Z", "dry-run": True, "x-mine": "x"}
    given = {"content_type": "application/json; charset=utf-8", "app_id": "me", "correlation_id": "c"}
    await die(db, settings, "m", headers=headers, reply_to="nowhere", **given)
    async with raw(settings) as channel:
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(harness.names(settings).requests, "#")
        await dead(settings, "replay", "--all")
        request = await queue.get(timeout=harness.DEADLINE)
    assert request.headers == {"partition-key": "p", "dry-run": True, "replay": 1}
    assert (request.routing_key, request.reply_to, request.expiration) == ("query.create", None, None)
    assert {name: getattr(request, name) for name in given} == given
    assert request.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
    assert request.message_id not in {None, "m"}
    await left(settings, 1)  # it has died again


async def test_a_dry_run_that_is_sent_again_is_still_dry(
    db: Requester, client: Client, settings: config.Settings
) -> None:
    session = await die(db, settings, "m", headers={"dry-run": True})
    await client.call("session.create", {"id": session})
    assert (await dead(settings, "replay", "--all")).code == 0
    await served(client, db)
    assert await queries(client, session) == 0


async def test_what_its_sender_has_written_wrong_is_not_made_right_by_a_replay(
    db: Requester, client: Client, settings: config.Settings
) -> None:
    """Its properties may have said that it was a dry run."""
    await db.publish("session.create", {}, "m", reply_to=None, headers={"undecodable": "headers"})
    await left(settings, 1)
    await dead(settings, "replay", "--all")
    await left(settings, 1)
    ((*_, reason, operation, _),) = await listed(settings)
    assert (reason, operation) == ("malformed", "session.create")
    assert await client.call("session.count") == {"count": 0}


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"reason": "unpublished"}, "its change stands already"),
        ({"size": 9}, "it holds only the beginning of its body"),
    ],
)
async def test_what_must_not_be_sent_again_is_not_and_that_is_said(
    db: Requester, client: Client, settings: config.Settings, headers: dict[str, Any], why: str
) -> None:
    async with raw(settings) as channel:
        exchange = await channel.get_exchange(harness.names(settings).dead)
        await exchange.publish(aio_pika.Message(b"{}", headers=headers, message_id="m"), "session.create")
    (letter,) = await ids(settings)
    for command in (letter, "--all"):
        ended = await dead(settings, "replay", command)
        assert (ended.code, ended.out) == (1, f"{letter}  not replayed: {why}\n")
        assert ended.err == "0 replayed, 1 not\n"
    await served(client, db)
    assert await client.call("session.count") == {"count": 2}
    await left(settings, 1)


@pytest.mark.parametrize(
    ("reason", "reply_to", "doubted"),
    [
        ("urn:db:problem:internal", "somebody", True),
        ("urn:db:problem:internal", None, False),
        ("urn:db:problem:deadline-exceeded", "somebody", True),
        ("unanswered", "somebody", False),
        ("kills-process", None, True),
    ],
)
async def test_a_letter_whose_change_may_stand_is_sent_again_only_by_its_id(
    db: Requester,
    client: Client,
    settings: config.Settings,
    reason: str,
    reply_to: str | None,
    doubted: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """Who was told to ask again may have done so, and what kills may do so after the commit."""
    async with raw(settings) as channel:
        exchange = await channel.get_exchange(harness.names(settings).dead)
        letter = aio_pika.Message(b"{}", headers={"reason": reason}, reply_to=reply_to)
        await exchange.publish(letter, "session.create")
    (named,) = await ids(settings)
    every = await dead(settings, "replay", "--all")
    assert every.code == int(doubted)
    if doubted:
        assert every.out == f"{named}  not replayed: its change may stand already; its id sends it again\n"
        assert (await dead(settings, "replay", named)).code == 0
    await served(client, db)
    assert await client.call("session.count") == {"count": 3}
    await left(settings, 0)


async def test_drop_takes_the_letter_that_is_named_and_no_other(db: Requester, settings: config.Settings) -> None:
    await die(db, settings, "a", "b", "c")
    first, second, third = await ids(settings)
    assert (await dead(settings, "drop", second, "--yes")).err == "1 dropped\n"
    assert await ids(settings) == [first, third]
    assert (await dead(settings, "drop", "--all", "--yes")).err == "2 dropped\n"
    await left(settings, 0)


@pytest.mark.parametrize("which", ["--all", "0a1b2c3d4e5f"])
async def test_nothing_is_dropped_without_a_yes(db: Requester, settings: config.Settings, which: str) -> None:
    await die(db, settings, "m")
    refused = await dead(settings, "drop", which)
    assert (refused.code, refused.err) == (2, "nobody is there to be asked; --yes drops without asking\n")
    assert await asked(settings, "n\n", "drop", which) == (1, "nothing was dropped")
    await left(settings, 1)


async def test_on_a_terminal_a_yes_is_enough(db: Requester, settings: config.Settings) -> None:
    await die(db, settings, "m")
    assert await asked(settings, "y\n", "drop", "--all") == (0, "1 dropped")
    await left(settings, 0)


async def test_the_commands_of_the_readme_do_what_it_says(
    db: Requester, client: Client, settings: config.Settings
) -> None:
    await die(db, settings, "first", "second")
    first, second = await ids(settings)
    for command, shown in ((LIST, first), (SHOW, "query.create")):
        ended = await typed(settings, command.replace(EXAMPLE, first))
        assert ended.code == 0
        assert shown in ended.out
    assert await asked(settings, "y\n", *DROP.replace(EXAMPLE, first).split()[2:]) == (0, "1 dropped")
    assert await ids(settings) == [second]
    assert (await typed(settings, REPLAY)).code == 0


async def typed(settings: config.Settings, command: str) -> Ended:
    return await dead(settings, *command.split()[2:])


async def asked(settings: config.Settings, answer: str, *command: str) -> tuple[int | None, str]:
    """How the command ends that is given the answer on a terminal, and what it says then."""
    ours, its = os.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "main.py", "dead", *command),
        cwd=harness.ROOT,
        env=harness.environment(settings),
        stdin=its,
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(its)
    os.write(ours, answer.encode())
    _, said = await process.communicate()
    os.close(ours)
    assert b"for good? [y/N]" in said
    return process.returncode, said.decode().partition("[y/N]:")[2].strip()


@pytest.mark.parametrize("command", ["show", "replay", "drop"])
async def test_a_letter_that_is_not_there_is_one_line_and_exit_code_1(
    db: Requester, settings: config.Settings, command: str
) -> None:
    await die(db, settings, "m")
    ended = await dead(settings, command, "0a1b2c3d4e5f", *(["--yes"] if command == "drop" else []))
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "there is no dead letter 0a1b2c3d4e5f, or somebody else looks at it now\n"
    await left(settings, 1)


@pytest.mark.parametrize("command", [("replay",), ("drop",), ("replay", "abc", "--all"), ("drop", "abc", "--all")])
async def test_a_letter_or_all_must_be_named(settings: config.Settings, command: tuple[str, ...]) -> None:
    ended = await dead(settings, *command)
    assert (ended.code, ended.err) == (2, "which letter? Give its id, or --all\n")


async def test_the_letters_of_a_service_that_was_never_started_are_one_line(rabbitmq_url: str) -> None:
    alone = config.load(_env_file=None, rabbitmq_url=rabbitmq_url, service_name=f"test-{uuid.uuid4().hex[:12]}")
    ended = await dead(alone, "list")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == f"no service named '{alone.service_name}' has been started on this broker\n"


async def test_whatever_a_letter_holds_it_is_printed_on_its_lines(db: Requester, settings: config.Settings) -> None:
    async with raw(settings) as channel:
        exchange = await channel.get_exchange(harness.names(settings).dead)
        headers: Any = {
            "reason": ODD,
            "operation": ODD,
            "died-at": ODD,
            "size": -1,
            "a\n": [bytearray(b"\xff"), {"b": ODD}],
        }
        letter = aio_pika.Message(b"\xff\x1b\n\x00", headers=headers, message_id=ODD)
        await exchange.publish(letter, "session.create")
        await exchange.publish(aio_pika.Message(b"", headers={"died-at": "2026-01-01"}, message_id="m"), "")
    ended = await dead(settings, "list")
    odd, empty = ended.out.splitlines()
    assert odd.isprintable()
    assert empty.split()[1:] == ["?", "0", "?", "m"]
    shown = (await dead(settings, "show", odd.split()[0])).out
    assert all(line.isprintable() for line in shown.splitlines())
    assert shown.endswith("\n\n\\xff\\u001b\n\\u0000\n")


async def test_a_letter_that_nobody_could_have_sent_is_shown_and_stands_in_no_others_way(
    db: Requester, client: Client, settings: config.Settings
) -> None:
    deep: dict[str, Any] = {}
    for _ in range(400):
        deep = {"a": deep}
    headers: Any = {"operation": "é" * 200, "deep": deep}
    async with raw(settings) as channel:
        exchange = await channel.get_exchange(harness.names(settings).dead)
        await exchange.publish(aio_pika.Message(b"{}", headers=headers), "session.create")
        await exchange.publish(aio_pika.Message(b"{}"), "session.create")
    odd, _ = await ids(settings)
    shown = await dead(settings, "show", odd)
    assert (shown.code, "header deep: {'a': {'a'" in shown.out) == (0, True)
    ended = await dead(settings, "replay", "--all")
    assert (ended.code, ended.err) == (1, "1 replayed, 1 not\n")
    assert f"{odd}  not replayed: RabbitMQ does not take the request\n" in ended.out
    await served(client, db)
    assert await client.call("session.count") == {"count": 3}
    assert await ids(settings) == [odd]


async def test_the_log_names_operation_message_id_and_reason_of_a_dead_letter(
    db: Requester, settings: config.Settings, caplog: pytest.LogCaptureFixture
) -> None:
    await die(db, settings, "m", None)
    said = [record.getMessage() for record in caplog.records if "dead letter" in record.getMessage()]
    assert said == [f"dead letter: 'query.create' {named}: urn:db:problem:foreign-key" for named in ("'m'", "None")]
