"""Mistakes that the tests must notice: for each rule that is easily broken, the tree with the rule broken."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """In ``file`` the text ``old`` becomes ``new``; each of ``tests`` must fail then, and pass before."""

    name: str
    file: str
    old: str
    new: str
    tests: Sequence[str]


MUTANTS = [
    Mutant(
        "an outage is counted when it is over",
        "src/operate/metrics.py",
        "        telemetry.DATABASE.count()\n",
        "",
        ["tests/faults/test_watched.py::test_an_outage_of_the_database_is_seen_while_it_lasts_and_after"],
    ),
    Mutant(
        "what does not answer is asked again and again",
        "src/operate/asking.py",
        "(self._asking.done() and moment",
        "(moment",
        ["tests/test_health.py::test_what_does_not_answer_is_asked_once_and_waited_for_no_longer_than_patience"],
    ),
    Mutant(
        "who consumes nothing is ready",
        "src/operate/health.py",
        "OK if subscriber.consuming.is_set() else",
        "OK if subscriber.lives else",
        ["tests/test_health.py::test_a_queue_that_is_not_consumed_is_not_ready"],
    ),
    Mutant(
        "HTTP takes the signals",
        "src/operate/http.py",
        "    def capture_signals(",
        "    def capture_no_signals(",
        ["tests/test_health.py::test_it_takes_no_signal"],
    ),
    Mutant(
        "the first dead letter is no increase",
        "src/operate/metrics.py",
        "        telemetry.DEAD_LETTERS.labels(reason)\n",
        "        pass\n",
        ["tests/test_metrics.py::test_the_first_dead_letter_is_an_increase"],
    ),
    Mutant(
        "a batch is queued from the arrival of its newest request",
        "src/amqp/batches.py",
        "return self.deliveries[0].arrived",
        "return self.deliveries[-1].arrived",
        ["tests/test_metrics.py::test_a_batch_is_queued_from_the_arrival_of_its_oldest_request"],
    ),
    Mutant(
        "the doctor looks only for what is missing",
        "src/operate/broker_checks.py",
        '            self.different.append(f"{name} has other arguments: {error}")\n',
        "            del error\n",
        ["tests/faults/test_doctor.py::test_arguments_that_differ_are_found_all_of_them"],
    ),
    Mutant(
        "no flush before a deletion that takes others along",
        "src/rows.py",
        "        await self._session.flush()\n        connection = await",
        "        connection = await",
        ["tests/test_batches.py::test_a_row_can_be_made_and_deleted_and_made_anew_in_one_batch"],
    ),
    Mutant(
        "what a deletion reaches is not read again",
        "src/rows.py",
        "        for model in consequences.models:\n            await self._reread(model)\n",
        "",
        [
            "tests/test_batches.py::test_what_refers_to_a_row_that_goes_with_its_parent_is_answered_as_the_database_left_it"
        ],
    ),
    Mutant(
        "a handler's rows are forgotten by a deletion",
        "src/rows.py",
        "        held = self.changes.held(model)\n",
        "        held: list[Record] = []\n",
        ["tests/test_batches.py::test_a_row_that_a_handler_holds_can_be_changed_after_its_parent_is_deleted"],
    ),
    Mutant(
        "numbers stay as they were sent",
        "src/canonical.py",
        "int(Decimal(repr(value))) if abs(value) >= _WHOLE else value",
        "value",
        ["tests/test_batches.py::test_a_number_is_answered_as_the_database_gives_it_back"],
    ),
    Mutant(
        "a negative zero stays one",
        "src/canonical.py",
        "        return 0.0\n",
        "        return value\n",
        ["tests/test_batches.py::test_a_number_is_answered_as_the_database_gives_it_back"],
    ),
    Mutant(
        "a new row has no collections",
        "src/base.py",
        "            setattr(self, name, values.pop(name, []))",
        "            pass",
        ["tests/test_batches.py::test_a_row_created_and_then_deleted_in_a_dry_run_needs_no_second_way"],
    ),
    Mutant(
        "a dry run forgets everything",
        "src/work/unit_of_work.py",
        "        batch.rows.restore(known)\n",
        "        batch.rows.forget()\n",
        ["tests/test_batches.py::test_a_dry_run_among_two_hundred_requests_takes_at_most_ten_statements"],
    ),
    Mutant(
        "listed rows are nobody's change",
        "src/rows.py",
        "            self._note(row)\n            self.changes.get(row)\n",
        "            self._note(row)\n",
        [
            "tests/test_batches.py::test_a_row_that_a_handler_found_in_a_list_and_changed_has_a_version_more_and_an_event"
        ],
    ),
    Mutant(
        "listed rows are not locked",
        "src/loads.py",
        "        locked = statement.with_for_update(key_share=True)\n",
        "        locked = statement\n",
        ["tests/test_batches.py::test_what_a_handler_has_listed_waits_for_it"],
    ),
    Mutant(
        "a freed name stays taken",
        "src/rows.py",
        "        await self._write_renamed()\n        if (model",
        "        if (model",
        ["tests/test_batches.py::test_a_name_that_is_freed_can_be_taken_by_the_same_request"],
    ),
    Mutant(
        "a foreign key needs no relationship",
        "src/keys.py",
        "        if key.parent not in related:\n",
        "        if key.parent is None:\n",
        ["tests/test_conventions.py::test_a_foreign_key_without_a_relationship_is_a_clear_error"],
    ),
    Mutant(
        "a deletion counts no versions",
        "src/cascades.py",
        'counted = {"version": model.version + 1, "updated_at": MOMENT} if issubclass(model, Record) else {}',
        "counted: dict[str, Any] = {}",
        ["tests/test_batches.py::test_a_deletion_counts_the_versions_of_the_rows_that_referred_to_it"],
    ),
    Mutant(
        "a reply goes to any chat",
        "src/models/message.py",
        "    if message.chat_id != chat_id:\n",
        "    if message.id != message_id:\n",
        ["tests/test_batches.py::test_a_reply_is_to_a_message_of_its_own_chat"],
    ),
    Mutant(
        "members are asked for one by one",
        "src/crud.py",
        "    await loaded.load_parents(model, ids)\n",
        "",
        ["tests/test_batches.py::test_letting_in_a_thousand_users_takes_at_most_ten_statements"],
    ),
    Mutant(
        "a swallowed refusal is nobody's business",
        "src/work/unit_of_work.py",
        "        if refusal := batch.refused():\n",
        "        if refusal := None:\n",
        ["tests/test_batches.py::test_what_a_handler_does_around_a_refusal_that_it_swallows_is_not_committed"],
    ),
    Mutant(
        "children are written before parents",
        "src/writes.py",
        "        for model in sorted(tables, key=_dependency):",
        "        for model in sorted(tables, key=_dependency, reverse=True):",
        ["tests/test_batches.py::test_parents_and_children_of_one_batch_are_written_together"],
    ),
    Mutant(
        "text is cut to the length of its column",
        "src/writes.py",
        "    return sa.Text() if isinstance(kind, sa.String) and not isinstance(kind, sa.Enum) else kind",
        "    return kind",
        ["tests/guarantees/test_blame.py::test_a_bad_request_among_many_fails_alone"],
    ),
    Mutant(
        "a leaf that is deleted may be made anew at once",
        "src/rows.py",
        "        if self.writes.removes(row):\n            await self._session.flush()\n",
        "",
        ["tests/test_batches.py::test_a_leaf_can_be_deleted_and_made_anew_in_one_batch"],
    ),
    Mutant(
        "written rows are unknown to the session",
        "src/writes.py",
        "        if not self.last:\n            _attach(session, new)\n",
        "",
        ["tests/test_batches.py::test_a_row_can_be_changed_after_it_was_written_in_the_middle_of_a_batch"],
    ),
    Mutant(
        "an ack of several counts for one",
        "src/amqp/outlet.py",
        "range(self._settled if multiple else end - 1, end)",
        "range(end - 1, end)",
        ["tests/test_outlet.py::test_one_ack_may_answer_for_many_messages"],
    ),
    Mutant(
        "a returned message counts as taken",
        "src/amqp/outlet.py",
        "Result.REFUSED if index in self._returned else result",
        "result",
        ["tests/test_outlet.py::test_a_message_that_is_returned_is_refused_though_it_is_acked"],
    ),
    Mutant(
        "a refused event is nobody's business",
        "src/subscribers.py",
        "            await self._publisher.publish(refused, FOREVER)\n",
        "",
        ["tests/faults/test_full_queue.py::test_a_request_waits_where_what_is_refused_of_it_cannot_be_parked"],
    ),
    Mutant(
        "an event that nobody hears any more is published again for ever",
        "src/amqp/topology.py",
        ", names.released):\n            await channel.queue_bind",
        "):\n            await channel.queue_bind",
        ["tests/faults/test_full_queue.py::test_events_whose_subscriber_is_gone_hold_up_no_other_subscribers"],
    ),
    Mutant(
        "nobody looks for what is missing",
        "src/service.py",
        "(purging, self._keep_time(), self._upkeep.watch())",
        "(purging, self._keep_time())",
        ["tests/faults/test_deleted.py::test_an_exchange_that_is_deleted_comes_back_with_its_bindings[requests]"],
    ),
    Mutant(
        "what is published to a missing exchange is given up",
        "src/amqp/publisher.py",
        "            case Result.MISSING:\n                return True\n",
        "            case Result.MISSING:\n                return False\n",
        [
            "tests/faults/test_deleted.py::test_what_is_published_to_an_exchange_that_is_missing_is_there_once_it_is_back"
        ],
    ),
    Mutant(
        "what comes back is not bound",
        "src/amqp/upkeep.py",
        "        self._restored.add(name)\n",
        "",
        ["tests/faults/test_deleted.py::test_an_exchange_that_is_deleted_comes_back_with_its_bindings[released]"],
    ),
    Mutant(
        "a binding is taken away while the service runs",
        "src/amqp/upkeep.py",
        "if self._declared else await",
        "if not self._declared else await",
        ["tests/faults/test_deleted.py::test_while_it_runs_it_takes_no_binding_away"],
    ),
    Mutant(
        "what is no text is escaped in deliveries alone",
        "src/amqp/frames.py",
        "    layout = _LAYOUTS.get(payload[:4])\n",
        "    layout = _LAYOUTS[DELIVER] if payload[:4] == DELIVER else None\n",
        ["tests/test_frames.py::test_whatever_a_frame_holds_what_aiormq_is_given_decodes"],
    ),
    Mutant(
        "a header is cut by its characters",
        "src/amqp/outgoing.py",
        'text.encode(errors="replace")[:LONGEST_COPIED].decode(errors="ignore")',
        "text[:LONGEST_COPIED]",
        ["tests/test_outgoing.py::test_whatever_a_request_holds_what_tells_of_it_fits_the_smallest_frame"],
    ),
    Mutant(
        "a direct reply that ends its connection is tried again",
        "src/amqp/publisher.py",
        "Result.REFUSED if direct and result is Result.UNKNOWN else result",
        "result",
        ["tests/guarantees/test_forged.py::test_a_batch_of_forged_direct_replies_ends_its_connection_a_few_times_only"],
    ),
    Mutant(
        "aiormq hears of no tapped frame",
        "src/amqp/stream.py",
        "        if taken:\n            self._show_life()\n",
        "",
        ["tests/test_frames.py::test_aiormq_sees_a_sign_of_life_though_every_frame_is_tapped"],
    ),
    Mutant(
        "a routing key is cut inside a character",
        "src/amqp/frames.py",
        '.encode()[:255].decode(errors="ignore")',
        '.encode()[:255].decode(errors="surrogateescape")',
        ["tests/test_frames.py::test_whatever_the_routing_key_holds_the_method_decodes"],
    ),
    Mutant(
        "a refusal after a change is not taken back",
        "src/work/unit_of_work.py",
        "            if batch.refused() or not batch.rows.take_back():\n",
        "            if batch.refused() or batch.rows.doubtful or [*changes.updates()]:\n",
        ["tests/test_sizes.py::test_what_would_be_too_large_is_refused_and_undone_and_its_neighbours_run_once"],
    ),
    Mutant(
        "what is taken back stays in the rows",
        "src/rows.py",
        "                setattr(row, name, value)\n",
        "                pass\n",
        ["tests/test_sizes.py::test_what_would_be_too_large_is_refused_and_undone_and_its_neighbours_run_once"],
    ),
    Mutant(
        "a row made by a refused request is written",
        "src/rows.py",
        "            self.writes.drop(row)\n            self._free_uniques(row)\n",
        "            self._free_uniques(row)\n",
        ["tests/test_sizes.py::test_what_would_be_too_large_is_refused_and_undone_and_its_neighbours_run_once"],
    ),
    Mutant(
        "rows beside the answer are not measured",
        "src/work/sizes.py",
        "        for row in changes.beside(result):\n",
        "        for row in ():\n",
        ["tests/test_sizes.py::test_what_would_be_too_large_is_refused_and_undone_and_its_neighbours_run_once"],
    ),
    Mutant(
        "a row that is too large cannot shrink",
        "src/work/sizes.py",
        "        if len(body) > most and changes.grew(row):\n",
        "        if len(body) > most:\n",
        [
            "tests/test_sizes.py::test_a_row_that_is_too_large_already_can_shrink",
            "tests/test_sizes.py::test_a_row_that_is_too_large_can_be_deleted",
        ],
    ),
    Mutant(
        "a password in a file keeps its newline",
        "config.py",
        'text.removesuffix("\\n").removesuffix("\\r")',
        "text",
        ["tests/test_setting_files.py::test_a_value_in_a_file_is_the_same_as_in_a_variable"],
    ),
    Mutant(
        "a value that is given twice is not refused",
        "config.py",
        "        if files and len(given) > 1:\n",
        "        if len(files) > 1:\n",
        ["tests/test_setting_files.py::test_a_value_that_is_given_and_lies_in_a_file_is_refused"],
    ),
    Mutant(
        "a database of another name is waited for",
        "src/service.py",
        "            if isinstance(error, SSLCertVerificationError):\n",
        "            if isinstance(error, EOFError):\n",
        ["tests/test_tls.py::test_a_database_that_is_not_who_it_says_is_refused_in_one_line"],
    ),
    Mutant(
        "a broker of another name is waited for",
        "src/amqp/connections.py",
        "            if isinstance(error.__cause__, SSLCertVerificationError):\n",
        "            if isinstance(error.__cause__, EOFError):\n",
        ["tests/test_tls.py::test_a_broker_that_is_not_who_it_says_is_refused_in_one_line"],
    ),
    Mutant(
        "a migration waits in front of everybody",
        "migrations/env.py",
        "SET lock_timeout = '2s'",
        "SET lock_timeout = '0s'",
        ["tests/test_deploy.py::test_a_migration_behind_a_long_transaction_lets_others_pass"],
    ),
    Mutant(
        "a migration tries once",
        "migrations/env.py",
        "        if last or sqlstate(error) != LOCKED:\n",
        "        if last or sqlstate(error) == LOCKED:\n",
        ["tests/test_deploy.py::test_a_migration_behind_a_long_transaction_lets_others_pass"],
    ),
    Mutant(
        "a first process does not hear that it is to end",
        "main.py",
        "    if os.getpid() == 1:",
        "    if os.getpid() == 0:",
        ["tests/test_deploy.py::test_the_first_process_of_a_container_ends_when_it_is_told_to_while_it_waits"],
    ),
    Mutant(
        "the probe takes any answer",
        "src/operate/probe.py",
        ".status == ALIVE",
        ".status > 0",
        ["tests/test_deploy.py::test_the_probe_says_what_the_service_says"],
    ),
    Mutant(
        "what is not stored waits for no commit",
        "src/work/inbox.py",
        "    keys = sorted([*entries, *unserved])\n",
        "    keys, unserved = sorted(entries), ()\n",
        [
            "tests/faults/test_commit.py::test_a_write_whose_commit_is_in_doubt_is_not_answered_otherwise_before_that_has_ended[too_late-committed]"
        ],
    ),
    Mutant(
        "an unknown operation does not say which version answered",
        "src/errors.py",
        "        problem.version = version\n",
        "",
        ["tests/test_unknown.py::test_an_unknown_operation_is_named_with_the_nearest_ones_and_the_version"],
    ),
    Mutant(
        "a letter may be looked at so many times",
        "src/amqp/topology.py",
        '"x-delivery-limit": NEVER',
        '"x-delivery-limit": 20',
        ["tests/test_dead.py::test_fifty_looks_lose_no_letter_and_keep_their_order"],
    ),
    Mutant(
        "a limit of -1 is none",
        "src/amqp/topology.py",
        '"x-delivery-limit": NEVER',
        '"x-delivery-limit": -1',
        ["tests/test_dead.py::test_fifty_looks_lose_no_letter_and_keep_their_order"],
    ),
    Mutant(
        "a replay is another request each time",
        "src/cli/letter.py",
        'uuid.uuid5(_IDS, origin + b"\\0%d" % number)',
        "uuid.uuid4()",
        ["tests/test_dead.py::test_a_replay_that_dies_before_the_letter_is_acked_is_applied_once"],
    ),
    Mutant(
        "a letter forgets that its request was a dry run",
        "src/amqp/outgoing.py",
        "        wire.DRY_RUN: True if given.get(wire.DRY_RUN) else None,\n",
        "",
        ["tests/test_dead.py::test_a_dry_run_that_is_sent_again_is_still_dry"],
    ),
    Mutant(
        "a change that stands is made again",
        "src/cli/letter.py",
        "        if self.reason == _UNPUBLISHED:\n",
        "        if not self.reason:\n",
        ["tests/test_dead.py::test_what_must_not_be_sent_again_is_not_and_that_is_said"],
    ),
    Mutant(
        "what somebody was told to ask again is sent again with all",
        "src/cli/letters.py",
        "None if letter_id else letter.doubt",
        "None",
        ["tests/test_dead.py::test_a_letter_whose_change_may_stand_is_sent_again_only_by_its_id"],
    ),
    Mutant(
        "the reference is not written anew",
        "src/models/query.py",
        '    """Begin to answer; the query must be pending."""\n',
        '    """Begin."""\n',
        ["tests/test_reference.py::test_the_page_is_what_the_source_says"],
    ),
    Mutant(
        "a command's illegal transition is not said",
        "src/contract/reference.py",
        "        yield errors.IllegalTransition\n",
        "        pass\n",
        [
            "tests/test_reference.py::test_a_problem_that_a_request_has_is_said_of_its_operation",
            "tests/test_reference.py::test_the_problems_of_an_operation_follow_from_what_it_asks_for",
        ],
    ),
    Mutant(
        "a window keeps whatever comes",
        "src/amqp/batches.py",
        "            self.outgrown = self._size > self._limits.window\n",
        "            self.outgrown = False\n",
        [
            "tests/guarantees/test_windows.py::test_a_window_of_large_bodies_holds_a_bounded_number_of_bytes_and_none_is_lost_or_done_twice"
        ],
    ),
    Mutant(
        "a narrow window stays narrow",
        "src/amqp/batches.py",
        "            self.outgrown = sum(self._passed) <= self._limits.window\n",
        "            self.outgrown = False\n",
        [
            "tests/guarantees/test_windows.py::test_a_window_of_large_bodies_holds_a_bounded_number_of_bytes_and_none_is_lost_or_done_twice"
        ],
    ),
    Mutant(
        "a statement of an altered table is nobody's fault",
        "src/database.py",
        "    if code in TRANSIENT or isinstance(error.orig, AsyncAdapt_asyncpg_dbapi.InvalidCachedStatementError):\n",
        "    if code in TRANSIENT:\n",
        ["tests/guarantees/test_altered.py::test_what_meets_an_altered_table_is_served"],
    ),
    Mutant(
        "what a later version adds to an outcome is an error",
        "src/work/inbox.py",
        "            for name, subject, version, time, own, *_ in events\n",
        "            for name, subject, version, time, own in events\n",
        ["tests/guarantees/test_once.py::test_what_another_version_has_served_is_answered_and_told_the_same"],
    ),
    Mutant(
        "rows are listed however large they are",
        "src/pieces.py",
        "        return cls(model, statement, sized, statement.where(total <= PIECE))\n",
        "        return cls(model, statement, sized, statement)\n",
        ["tests/test_pieces.py::test_a_list_of_large_rows_reads_no_more_than_an_answer_and_a_piece"],
    ),
    Mutant(
        "writes that are given up go to the dead letters at once",
        "src/amqp/topology.py",
        '"x-dead-letter-exchange": names.expired,',
        '"x-dead-letter-exchange": names.dead,',
        ["tests/faults/test_given_up.py::test_a_write_that_expires_in_its_queue_is_answered_and_not_applied[none]"],
    ),
    Mutant(
        "a write that was given up is refused though it was served",
        "src/subscribers.py",
        "        received = [self._given_up(delivery) for delivery in batch.deliveries]\n"
        '        laps.end("decoded")\n        await self._serve(batch, received, laps)\n',
        "        received = [self._given_up(delivery) for delivery in batch.deliveries]\n"
        "        await self._publish(_settled(received), laps)\n        await batch.ack()\n",
        [
            "tests/faults/test_given_up.py::test_a_write_that_expires_in_its_queue_and_was_served_before_is_answered_and_told_as_it_was"
        ],
    ),
    Mutant(
        "what was delivered too often is late",
        "src/subscribers.py",
        "DeliveryLimit() if died(delivery) == OVER_LIMIT else late",
        "late",
        [
            "tests/faults/test_given_up.py::test_a_write_delivered_too_often_is_a_dead_letter_that_says_so_unless_it_was_served"
        ],
    ),
    Mutant(
        "writes are given up at least once",
        "src/amqp/topology.py",
        '"x-dead-letter-exchange": names.expired,',
        '"x-dead-letter-exchange": names.expired,\n            "x-dead-letter-strategy": "at-least-once",',
        [
            "tests/faults/test_given_up.py::test_a_death_that_no_broker_understands_costs_its_own_request_and_no_other[texts]"
        ],
    ),
    Mutant(
        "reads are dead-lettered by their queue",
        "src/amqp/topology.py",
        '{"x-message-ttl": 2 * self._read_ttl * 1000}',
        '{"x-message-ttl": 2 * self._read_ttl * 1000, "x-dead-letter-exchange": names.unrouted}',
        [
            "tests/faults/test_given_up.py::test_a_death_that_no_broker_understands_costs_its_own_request_and_no_other[texts]"
        ],
    ),
    Mutant(
        "reads expire while they wait for the database",
        "src/amqp/topology.py",
        "2 * self._read_ttl",
        "self._read_ttl",
        [
            "tests/faults/test_database.py::test_reads_are_answered_while_the_database_is_down_though_writes_that_expired_wait_for_it"
        ],
    ),
    Mutant(
        "nobody asks the database for the time",
        "src/database.py",
        "        now.correct(time, asked)\n",
        "",
        ["tests/test_clock.py::test_the_time_is_the_databases_wherever_it_goes"],
    ),
    Mutant(
        "the time is asked for once",
        "src/service.py",
        "asyncio.sleep(LOOK)",
        "asyncio.sleep(3600)",
        ["tests/test_clock.py::test_the_time_is_the_databases_wherever_it_goes[ahead]"],
    ),
    Mutant(
        "a wrong time stays",
        "src/clock.py",
        "        if self._last - LONGEST_HOLD > answered + self._offset:\n            self._last = 0\n",
        "",
        ["tests/test_clock.py::test_the_time_is_the_databases_wherever_it_goes[ahead]"],
    ),
    Mutant(
        "the time goes back by little",
        "src/clock.py",
        "            moment = self._last + 1\n",
        "            pass\n",
        ["tests/test_clock.py::test_the_time_is_strictly_increasing_also_where_it_is_corrected_by_little"],
    ),
    Mutant(
        "a suspect is served among others",
        "src/amqp/batches.py",
        "            if self._suspects(self._arrived[0]):\n                break\n",
        "",
        ["tests/test_window.py::test_a_batch_ends_before_what_is_taken_alone"],
    ),
    Mutant(
        "a classic queue's count is believed",
        "src/amqp/batches.py",
        "        if not (delivery.redelivered and self._limits.counts):",
        "        if not delivery.redelivered:",
        ["tests/test_window.py::test_where_no_queue_counts_whatever_has_come_back_is_taken_alone"],
    ),
    Mutant(
        "an attempt that is given up counts",
        "src/subscribers.py",
        "                await self._suspects.take_back(attempt)\n",
        "",
        ["tests/guarantees/test_suspects.py::test_handed_over_again_and_again_a_request_is_no_suspect_for_that"],
    ),
    Mutant(
        "an attempt is not counted before it is made",
        "src/work/careful.py",
        "        return counted <= ATTEMPTS",
        "        return True",
        ["tests/guarantees/test_suspects.py::test_what_kills_unrouted_is_a_dead_letter_and_all_others_are_answered"],
    ),
    Mutant(
        "a suspect that was served is not acquitted",
        "src/subscribers.py",
        "            await self._suspects.acquit(attempt)\n",
        "",
        ["tests/guarantees/test_suspects.py::test_a_suspect_that_is_served_in_the_end_is_innocent"],
    ),
    Mutant(
        "suspects of several queues are attempted at once",
        "src/subscribers.py",
        "        async with self._suspects.alone:\n",
        "        async with asyncio.Lock():\n",
        [
            "tests/guarantees/test_suspects.py::test_a_process_makes_one_attempt_at_a_time_or_a_death_would_count_against_several"
        ],
    ),
    Mutant(
        "what kills is answered before it is gone",
        "src/subscribers.py",
        "        await batch.ack()\n        await self._replier.publish(settled.replies(), ONCE)\n",
        "        await self._replier.publish(settled.replies(), ONCE)\n        await batch.ack()\n",
        ["tests/guarantees/test_suspects.py::test_what_kills_while_it_is_answered_is_a_dead_letter_all_the_same"],
    ),
]
