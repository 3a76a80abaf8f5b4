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
        "        if self._lock:\n            statement",
        "        if not self._lock:\n            statement",
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
]
