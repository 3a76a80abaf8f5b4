"""Mutants of ``src/consumers``."""

from dev.mutants.mutant import Mutant

MUTANTS = [
    Mutant(
        "the window is as long as its slots",
        "src/consumers/rate_limit.py",
        "counted < slot - slots or",
        "counted < slot - slots / 2 or",
        ["tests/consumers/test_rate_limit.py::test_no_second_holds_more_requests_than_the_limit_of_two_replicas"],
    ),
    Mutant(
        "each replica counts for itself",
        "src/consumers/rate_limit.py",
        'f"limit:{self._seconds}:{sender}"',
        'f"limit:{id(self)}:{sender}"',
        ["tests/consumers/test_rate_limit.py::test_two_replicas_serve_no_more_of_a_sender_than_the_limit"],
    ),
    Mutant(
        "a write that is too many is forgotten",
        "src/consumers/rate_limit.py",
        "reject(requests.unsettled[position].delivery, problem)",
        "reject(requests.unsettled[position].delivery, problem)\n"
        "                    rejected = requests.unsettled[position].request\n"
        "                    requests.unsettled[position].request = type(rejected)(rejected.outcome)",
        ["tests/consumers/test_rate_limit.py::test_what_was_served_before_is_answered_the_same_however_many_there_are"],
    ),
    Mutant(
        "an idle service imports redis",
        "src/consumers/subscribers.py",
        "from src.telemetry import metrics\n",
        "import src.redis_client\nfrom src.telemetry import metrics\n",
        ["tests/cli/test_laziness.py::test_http_and_redis_are_imported_where_they_are_asked_for"],
    ),
    Mutant(
        "a refused event is nobody's business",
        "src/consumers/settlement.py",
        "            await self.publisher.publish(refused, RetryPolicy.UNTIL_CONFIRMED)\n",
        "",
        ["tests/faults/test_full_queue.py::test_a_request_waits_where_what_is_refused_of_it_cannot_be_parked"],
    ),
    Mutant(
        "an event that nobody hears any more is published again for ever",
        "src/consumers/topology.py",
        "in names.fanouts:\n            await channel.queue_bind",
        "in names.fanouts[:-1]:\n            await channel.queue_bind",
        ["tests/faults/test_full_queue.py::test_events_whose_subscriber_is_gone_hold_up_no_other_subscribers"],
    ),
    Mutant(
        "a header is cut by its characters",
        "src/consumers/dead_letter.py",
        'text.encode(errors="replace")[:LONGEST_COPIED].decode(errors="ignore")',
        "text[:LONGEST_COPIED]",
        ["tests/consumers/test_messages.py::test_whatever_a_request_holds_what_tells_of_it_fits_the_smallest_frame"],
    ),
    Mutant(
        "a letter may be looked at so many times",
        "src/consumers/topology.py",
        '"x-delivery-limit": NEVER',
        '"x-delivery-limit": 20',
        ["tests/dead_letters/test_dead_letters.py::test_fifty_looks_lose_no_letter_and_keep_their_order"],
    ),
    Mutant(
        "a limit of -1 is none",
        "src/consumers/topology.py",
        '"x-delivery-limit": NEVER',
        '"x-delivery-limit": -1',
        ["tests/dead_letters/test_dead_letters.py::test_fifty_looks_lose_no_letter_and_keep_their_order"],
    ),
    Mutant(
        "a letter forgets that its request was a dry run",
        "src/consumers/dead_letter.py",
        "        wire.DRY_RUN: True if given.get(wire.DRY_RUN) else None,\n",
        "",
        ["tests/dead_letters/test_dead_letters.py::test_a_dry_run_that_is_sent_again_is_still_dry"],
    ),
    Mutant(
        "writes that are given up go to the dead letters at once",
        "src/consumers/topology.py",
        '"x-dead-letter-exchange": names.expired,',
        '"x-dead-letter-exchange": names.dead,',
        [
            "tests/faults/test_given_up.py::test_a_write_that_expires_in_its_queue_is_answered_and_not_applied_whatever_it_claims"
        ],
    ),
    Mutant(
        "a write that was given up is refused though it was served",
        "src/consumers/subscribers.py",
        'subscriber("expired", self._given_up, write)',
        'subscriber("expired", self._given_up, _reject)',
        [
            "tests/faults/test_given_up.py::test_a_write_that_expires_in_its_queue_and_was_served_before_is_answered_and_told_as_it_was"
        ],
    ),
    Mutant(
        "what was delivered too often is late",
        "src/consumers/subscribers.py",
        "DeliveryLimit() if dead_letter_reason(delivery) == OVER_LIMIT else late",
        "late",
        [
            "tests/faults/test_given_up.py::test_a_write_delivered_too_often_is_a_dead_letter_that_says_so_unless_it_was_served"
        ],
    ),
    Mutant(
        "writes are given up at least once",
        "src/consumers/topology.py",
        '"x-dead-letter-exchange": names.expired,',
        '"x-dead-letter-exchange": names.expired,\n            "x-dead-letter-strategy": "at-least-once",',
        [
            "tests/faults/test_given_up.py::test_a_death_that_no_broker_understands_costs_its_own_request_and_no_other[texts]"
        ],
    ),
    Mutant(
        "reads are dead-lettered by their queue",
        "src/consumers/topology.py",
        '{"x-message-ttl": 2 * self._read_ttl * 1000}',
        '{"x-message-ttl": 2 * self._read_ttl * 1000, "x-dead-letter-exchange": names.unrouted}',
        [
            "tests/faults/test_given_up.py::test_a_death_that_no_broker_understands_costs_its_own_request_and_no_other[texts]"
        ],
    ),
    Mutant(
        "reads expire while they wait for the database",
        "src/consumers/topology.py",
        "2 * self._read_ttl * 1000",
        "self._read_ttl * 500",
        [
            "tests/faults/test_database.py::test_reads_are_answered_while_the_database_is_down_though_writes_that_expired_wait_for_it"
        ],
    ),
    Mutant(
        "what kills is answered before it is gone",
        "src/consumers/poison.py",
        "        await batch.ack()\n        await self.settlement.reply(settled)\n",
        "        await self.settlement.reply(settled)\n        await batch.ack()\n",
        [
            "tests/guarantees/test_poison_messages.py::test_what_kills_while_it_is_answered_is_a_dead_letter_all_the_same"
        ],
    ),
    Mutant(
        "an event about no row has an empty subject",
        "src/consumers/messages.py",
        "event.subject or None,",
        "event.subject,",
        ["tests/consumers/test_messages.py::test_an_event_without_a_row_has_no_subject"],
    ),
]
