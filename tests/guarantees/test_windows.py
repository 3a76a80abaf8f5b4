"""What waits in the service's memory is bounded in bytes, though RabbitMQ counts messages."""

import config
from src.amqp.batch_subscriber import BatchSubscriber
from src.service import Service
from tests.guarantees.held import hold
from tests.support import harness, requester

KIBIBYTE = 1024
SIZES = {"max_body": 64 * KIBIBYTE, "prefetch_size": 640 * KIBIBYTE, "prefetch": 100, "batch_size": 50}
LARGE = "x" * 60 * KIBIBYTE


async def test_a_window_of_large_bodies_holds_a_bounded_number_of_bytes_and_none_is_lost_or_done_twice(
    settings: config.Settings,
) -> None:
    chosen = settings.model_copy(update=SIZES)
    async with harness.running(chosen) as service, requester.asking(chosen) as db:
        subscriber = service.broker.batch_subscribers[0]
        with hold(service, "") as held:
            answers = [await db.publish("session.create", {"title": "the one before"})]
            await held.reached.wait()
            for number in range(200):
                user = {"username": f"{number:03}", "name": LARGE}
                answers.append(await db.publish("user.create", user, f"m-{number}"))
            await harness.eventually(
                lambda: delivered(subscriber, chosen.prefetch), "the broker delivers a whole window"
            )
            assert subscriber.waiting == 11  # of 60 KiB; the one that passes the bound is the last
        finished = await requester.finished(answers)
        assert [answer.problem for answer in finished] == [None] * 201
        names = await harness.fetch(chosen.dsn, "SELECT username, version FROM users ORDER BY created_at")
        assert names == [(f"{number:03}", 1) for number in range(200)]
        await becomes(service, reduced=True)
        await requester.finished([await db.publish("session.create", {}) for _ in range(2 * chosen.prefetch)])
        await becomes(service, reduced=False)


async def delivered(subscriber: BatchSubscriber, count: int) -> bool:
    return subscriber.window is not None and subscriber.window.delivered == count


async def becomes(service: Service, *, reduced: bool) -> None:
    async def is_so() -> bool:
        window = service.broker.batch_subscribers[0].window
        return window is not None and window.reduced == reduced

    await harness.eventually(is_so, f"reduced is {reduced}")
