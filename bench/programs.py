"""What is measured, and on which stage."""

import sys
from contextlib import AbstractAsyncContextManager

from bench import builds, requests
from bench.program import Program, Set
from bench.scene import Scene
from bench.stage import Stage

type Setting = AbstractAsyncContextManager[Scene]


def _python(module: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *arguments)


def _echoes(stage: Stage, number: int) -> Setting:
    return stage.queue_to_queue(requests.creates(number))


def _stores(stage: Stage, number: int) -> Setting:
    return stage.queue_to_queue(requests.creates(number), stores=True)


def _stores_mixed(stage: Stage, number: int) -> Setting:
    return stage.queue_to_queue(requests.mixed(number), stores=True)


def _rows(stage: Stage, number: int) -> Setting:
    return stage.rows_only(requests.creates(number))


def _creates(stage: Stage, number: int) -> Setting:
    return stage.service(requests.creates(number))


def _answers(stage: Stage, number: int) -> Setting:
    return stage.service(requests.creates(number), reply=True)


def _duplicates(stage: Stage, number: int) -> Setting:
    return stage.service(requests.duplicates(number))


def _mixed(stage: Stage, number: int) -> Setting:
    return stage.service(requests.mixed(number))


def _gets(callers: int) -> Set:
    return lambda stage, _: stage.reads(requests.gets(), callers)


def _calls(callers: int) -> Set:
    return lambda stage, _: stage.echo(requests.gets(), callers)


SERVICE = _python("bench.service")
RPC_ECHO = _python("bench.peers.rpc_echo")
TUTORIAL, TUTORIAL_MIXED = _python("bench.peers.tutorial"), _python("bench.peers.tutorial_mixed")

PROGRAMS = (
    Program("raw_echo", "aio-pika: publish the body, ack", _python("bench.peers.raw_echo"), 6000, _echoes),
    Program("faststream_echo", "FastStream: a typed handler", _python("bench.peers.faststream_echo"), 3500, _echoes),
    Program("tutorial", "FastStream, SQLAlchemy, a transaction a message", TUTORIAL, 700, _stores),
    Program("service", "this service: a query created, its event", SERVICE, 6000, _creates),
    Program("service_reply", "the same, and a reply", SERVICE, 5000, _answers),
    Program("duplicates", "this service: what it has served before", SERVICE, 9000, _duplicates),
    Program("mixed", "this service: creates, updates, completes, deletes", SERVICE, 4000, _mixed),
    Program("tutorial_mixed", "the tutorial, which serves the same", TUTORIAL_MIXED, 500, _stores_mixed),
    Program("node", "Node.js, amqplib, pg, a transaction a message", builds.NODE, 3500, _stores),
    Program("go", "Go, amqp091, pgx, a transaction a message", builds.GO, 4000, _stores),
    Program("get_1", "this service: a query by its id, one at a time", SERVICE, 0, _gets(1)),
    Program("rpc_echo_1", "aio-pika: the body as an answer, one at a time", RPC_ECHO, 0, _calls(1)),
    Program("get_50", "this service: a query by its id, 50 at a time", SERVICE, 0, _gets(50)),
    Program("rpc_echo_50", "aio-pika: the body as an answer, 50 at a time", RPC_ECHO, 0, _calls(50)),
    *(
        Program(f"asyncpg_{way}", "rows alone", _python("bench.peers.asyncpg_rows", way), 20_000, _rows)
        for way in ("unnest", "executemany", "copy")
    ),
)
