"""Mutants of the entity files and of what they stand on: ``crud`` and ``base``."""

from dev.mutants.mutant import Mutant

MUTANTS = [
    Mutant(
        "a new row has no collections",
        "src/base.py",
        "            setattr(self, name, values.pop(name, []))",
        "            pass",
        ["tests/processing/test_batches.py::test_a_row_created_and_then_deleted_in_a_dry_run_needs_no_second_way"],
    ),
    Mutant(
        "a reply goes to any chat",
        "src/models/message.py",
        "    if message.chat_id != chat_id:\n",
        "    if message.id != message_id:\n",
        ["tests/processing/test_batches.py::test_a_reply_is_to_a_message_of_its_own_chat"],
    ),
    Mutant(
        "members are asked for one by one",
        "src/crud.py",
        "    await rows.load_parents(model, ids)\n",
        "",
        ["tests/processing/test_batches.py::test_letting_in_a_thousand_users_takes_at_most_ten_statements"],
    ),
    Mutant(
        "the reference is not written anew",
        "src/models/query.py",
        '    """Begin to answer; the query must be pending."""\n',
        '    """Begin."""\n',
        ["tests/contract/test_reference.py::test_the_page_is_what_the_source_says"],
    ),
    Mutant(
        "SQLite: a new row is written when it refers to a later one",
        "src/crud.py",
        "        await rows.write_new()\n",
        "        pass\n",
        ["tests/databases/test_sqlite.py::test_rows_that_come_to_refer_to_each_other_in_a_batch_are_written_together"],
    ),
]
