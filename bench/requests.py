"""What the programs are asked: drawn by chance, and the same for every program of every run."""

import itertools
import json
import random
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

CREATE, UPDATE, COMPLETE, DELETE = "query.create", "query.update", "query.complete", "query.delete"
GET, LIST = "query.get", "query.list"
WRITES, READS = (CREATE, UPDATE, COMPLETE, DELETE), (GET, LIST)

SHARES = {CREATE: 40, UPDATE: 30, COMPLETE: 20, DELETE: 10}  # of a mixed load, in percent
GROWTH: Mapping[str, int] = {CREATE: 1, DELETE: -1}  # of the table, by a request
FIRST_TIMES = 2000  # requests that are served before duplicates of them come; ten batches
WARM_UP = 200  # requests by which connections are open and statements prepared


def ids(number: int, seed: int) -> tuple[uuid.UUID, ...]:
    """So many ids, the same for the same seed."""
    chance = random.Random(seed)
    return tuple(_id(chance) for _ in range(number))


def _id(chance: random.Random) -> uuid.UUID:
    return uuid.UUID(int=chance.getrandbits(128), version=4)


SESSIONS = ids(1000, seed=1)  # that queries belong to; a single one would be a hot row for those that commit one by one
QUERIES = ids(1000, seed=2)  # that are there before a mixed load or a read


@dataclass(frozen=True, slots=True)
class Request:
    """One request, as bytes."""

    routing_key: str
    message_id: str
    body: bytes


@dataclass(frozen=True)
class Workload:
    """``requests`` begins to draw anew each time. ``seeded`` says that QUERIES are there before.

    The first ``skipped`` requests are served and not measured.
    """

    requests: Callable[[], Iterator[Request]]
    seeded: bool = False
    skipped: int = WARM_UP

    def left_by(self, served: int) -> tuple[int, int]:
        """How many queries there are after so many requests in their order, and how many requests differ."""
        first = {request.message_id: request for request in itertools.islice(self.requests(), served)}
        grown = sum(GROWTH.get(request.routing_key, 0) for request in first.values())
        return grown + self.seeded * len(QUERIES), len(first)


def creates(number: int) -> Workload:
    return Workload(partial(_creates, WARM_UP + number))


def duplicates(number: int) -> Workload:
    """A few requests, and so many copies of them."""
    return Workload(partial(_duplicates, number), skipped=FIRST_TIMES)


def mixed(number: int) -> Workload:
    """Each request can be served where those before it were."""
    return Workload(partial(_mixed, WARM_UP + number), seeded=True)


def updates(number: int, queries: Sequence[uuid.UUID]) -> Workload:
    """Each changes something, also where earlier ones have changed the same queries: what changes nothing is cheap."""
    return Workload(partial(_updates, WARM_UP + number, queries, uuid.uuid4().hex))


def gets(queries: Sequence[uuid.UUID] = QUERIES) -> Workload:
    """Without an end."""
    return Workload(lambda: (_get(query) for query in itertools.cycle(queries)), seeded=True)


def first_pages() -> Workload:
    """Without an end."""
    return Workload(lambda: (_request(LIST, str(number), {}) for number in itertools.count()))


def _creates(number: int) -> Iterator[Request]:
    chance = random.Random(3)
    for index in range(number):
        yield _create(_id(chance), index, chance)


def _duplicates(number: int) -> Iterator[Request]:
    return itertools.islice(itertools.cycle(_creates(FIRST_TIMES)), FIRST_TIMES + number)


def _updates(number: int, queries: Iterable[uuid.UUID], value: str) -> Iterator[Request]:
    chance = random.Random(4)
    for index, query in zip(range(number), itertools.cycle(queries), strict=False):
        yield _request(UPDATE, str(_id(chance)), {"id": str(query), "metadata": {value: index}})


def _mixed(number: int) -> Iterator[Request]:
    chance, alive, pending = random.Random(5), list(QUERIES), set(QUERIES)
    for index, operation in enumerate(chance.choices(tuple(SHARES), tuple(SHARES.values()), k=number)):
        query = _id(chance) if operation == CREATE else _drawn(chance, alive, pending, operation)
        match operation:
            case "query.create":
                alive.append(query)
                pending.add(query)
                yield _create(query, index, chance)
            case "query.update":
                yield _request(UPDATE, str(_id(chance)), {"id": str(query), "metadata": {"k": -index}})
            case "query.complete":
                yield _request(COMPLETE, str(_id(chance)), {"id": str(query), "response": {"text": f"At {index}."}})
            case _:
                yield _request(DELETE, str(_id(chance)), {"id": str(query)})


def _drawn(chance: random.Random, alive: list[uuid.UUID], pending: set[uuid.UUID], operation: str) -> uuid.UUID:
    """One of those that are alive, pending where it is to be completed; one to be deleted is no longer among them."""
    while True:
        index = chance.randrange(len(alive))
        query = alive[index]
        if operation == COMPLETE and query not in pending:
            continue
        if operation != UPDATE:
            pending.discard(query)
        if operation == DELETE:
            alive[index], alive[-1] = alive[-1], alive[index]
            alive.pop()
        return query


def _create(query: uuid.UUID, index: int, chance: random.Random) -> Request:
    text = f"When does the last train to the coast leave? ({index})"
    session = str(SESSIONS[index % len(SESSIONS)])
    body = {"id": str(query), "session_id": session, "text": text, "metadata": {"k": index}}
    return _request(CREATE, str(_id(chance)), body)


def _get(query: uuid.UUID) -> Request:
    return _request(GET, str(query), {"id": str(query)})


def _request(operation: str, message_id: str, body: dict[str, Any]) -> Request:
    return Request(operation, message_id, json.dumps(body).encode())
