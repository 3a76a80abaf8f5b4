"""Mutants of ``src/processing``."""

from dev.mutants.mutant import Mutant

MUTANTS = [
    Mutant(
        "a dry run forgets everything",
        "src/processing/unit_of_work.py",
        "        batch.rows.restore(snapshot)\n",
        "        batch.rows.clear()\n",
        ["tests/processing/test_batches.py::test_a_dry_run_among_two_hundred_requests_takes_at_most_ten_statements"],
    ),
    Mutant(
        "a swallowed refusal is nobody's business",
        "src/processing/unit_of_work.py",
        "        if error := batch.caught_failure():\n",
        "        if error := None:\n",
        [
            "tests/processing/test_batches.py::test_what_a_handler_does_around_a_refusal_that_it_swallows_is_not_committed"
        ],
    ),
    Mutant(
        "a refusal after a change is not taken back",
        "src/processing/unit_of_work.py",
        "            if batch.caught_failure() or not batch.rows.undo():\n",
        "            if batch.caught_failure() or batch.rows.stale or [*changes.settle()]:\n",
        [
            "tests/processing/test_row_size.py::test_what_would_be_too_large_is_refused_and_undone_and_its_neighbours_run_once"
        ],
    ),
    Mutant(
        "rows beside the answer are not measured",
        "src/processing/row_size.py",
        "        for row in changes.others(result):\n",
        "        for row in ():\n",
        [
            "tests/processing/test_row_size.py::test_what_would_be_too_large_is_refused_and_undone_and_its_neighbours_run_once"
        ],
    ),
    Mutant(
        "a row that is too large cannot shrink",
        "src/processing/row_size.py",
        "        if len(body) > most and changes.grew(row):\n",
        "        if len(body) > most:\n",
        [
            "tests/processing/test_row_size.py::test_a_row_that_is_too_large_already_can_shrink",
            "tests/processing/test_row_size.py::test_a_row_that_is_too_large_can_be_deleted",
        ],
    ),
    Mutant(
        "what is not stored waits for no commit",
        "src/processing/inbox.py",
        "    keys = sorted([*entries, *unserved])\n",
        "    keys, unserved = sorted(entries), ()\n",
        [
            "tests/faults/test_commit.py::test_a_write_whose_commit_is_in_doubt_is_not_answered_otherwise_before_that_has_ended[too_late-committed]"
        ],
    ),
    Mutant(
        "what a later version adds to an outcome is an error",
        "src/processing/outcome_codec.py",
        "            for name, subject, version, time, own, *_ in events\n",
        "            for name, subject, version, time, own in events\n",
        ["tests/guarantees/test_once.py::test_what_another_version_has_served_is_answered_and_told_the_same"],
    ),
    Mutant(
        "an attempt that is given up counts",
        "src/processing/attempts.py",
        "                await self._delete(attempt, table.c.attempt == attempt)\n",
        "",
        [
            "tests/guarantees/test_poison_messages.py::test_a_request_that_is_handed_over_again_and_again_is_not_given_up_for_that"
        ],
    ),
    Mutant(
        "an attempt is not counted before it is made",
        "src/processing/attempts.py",
        "        return counted <= ATTEMPTS",
        "        return True",
        [
            "tests/guarantees/test_poison_messages.py::test_what_kills_unrouted_is_a_dead_letter_and_all_others_are_answered"
        ],
    ),
    Mutant(
        "a suspect that was served is not acquitted",
        "src/processing/attempts.py",
        "            await self._delete(attempt, table.c.key == key)\n",
        "",
        ["tests/guarantees/test_poison_messages.py::test_a_suspected_message_that_is_served_in_the_end_is_innocent"],
    ),
    Mutant(
        "suspects of several queues are attempted at once",
        "src/processing/attempts.py",
        "        async with self._one_at_a_time:\n",
        "        async with asyncio.Lock():\n",
        [
            "tests/guarantees/test_poison_messages.py::test_a_process_makes_one_attempt_at_a_time_or_a_death_would_count_against_several"
        ],
    ),
    Mutant(
        "MariaDB: a deadlock that a handler hides is not seen",
        "src/processing/unit_of_work.py",
        "        error, failed.first = failed.first, None\n",
        "        error: BaseException | None = None\n",
        [
            "tests/databases/mariadb/test_transactions.py::test_a_unit_of_work_whose_transaction_a_deadlock_has_ended_keeps_all_or_nothing[True]"
        ],
    ),
    Mutant(
        "the requester is blamed for a column that no field names",
        "src/processing/fault.py",
        "        return problem if details.column in _columns(request) else error\n",
        "        return problem\n",
        ["tests/databases/test_schema_faults.py::test_a_fault_of_the_schema_is_internal_and_named"],
    ),
    Mutant(
        "the requester is blamed for an operator's constraint",
        "src/processing/fault.py",
        "    return problem if details.constraint in own else error\n",
        "    return problem\n",
        ["tests/databases/test_schema_faults.py::test_a_fault_of_the_schema_is_internal_and_named"],
    ),
    Mutant(
        "no failure names its column",
        "src/dialects/driver_errors.py",
        'return f"{place(error)}; {named}" if named else place(error)',
        "return place(error)",
        ["tests/databases/test_schema_faults.py::test_a_fault_of_the_schema_is_internal_and_named"],
    ),
]
