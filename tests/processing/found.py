"""What the properties have found: each case was answered or written otherwise once."""

import uuid
from typing import Any

from tests.support.cases import Case
from tests.support.worlds import Sent

ONE, TWO, THREE = (str(uuid.UUID(int=number)) for number in (1, 2, 3))
TOGETHER = [14]
FOLDERS = [Sent("folder.create", {"id": ONE, "name": "ada"}), Sent("folder.create", {"id": TWO, "name": "bob"})]


def report(*steps: dict[str, Any], **how: Any) -> Sent:
    return Sent("folder.report", {"steps": list(steps)}, **how)


CASES = {
    # SQLAlchemy cannot order the deletion of a row that refers to itself: the answer was internal.
    "a row that refers to itself is deleted": (
        "check_batches",
        Case(
            [],
            [Sent("folder.create", {"id": ONE, "name": "ada", "parent_id": ONE}), Sent("folder.delete", {"id": ONE})],
            [1, 1],
        ),
    ),
    # The inbox's statement failed in the transaction that the refusal had ended; the database was blamed, for ever.
    "a refusal that is swallowed at the end of a request": (
        "check_batches",
        Case(
            [],
            [report({"do": "swallow"}, key="m")],
            [1],
        ),
    ),
    # Forgetting descended only through rows that were loaded: the batch answered the old reference.
    "a reference to a row that went with its parent": (
        "check_batches",
        Case(
            [
                *FOLDERS,
                Sent("paper.create", {"id": ONE, "folder_id": ONE}),
                Sent("paper.create", {"id": TWO, "folder_id": TWO, "answers_id": ONE}),
            ],
            [Sent("folder.delete", {"id": ONE}), Sent("paper.update", {"id": TWO, "text": "new"})],
            TOGETHER,
        ),
    ),
    # The batch answered 1e16 and 0 changes, one by one 10000000000000000 and a version more.
    "a number that the database gives back otherwise": (
        "check_batches",
        Case(
            [],
            [
                Sent("session.create", {"id": ONE, "metadata": {"a": "#1e16"}}),
                Sent("session.update", {"id": ONE, "metadata": {"a": "#1e16"}}),
            ],
            TOGETHER,
        ),
    ),
    "minus zero": (
        "check_batches",
        Case(
            [],
            [
                Sent("session.create", {"id": ONE, "metadata": {"a": "#-0.0"}}),
                Sent("session.update", {"id": ONE, "title": "ada"}),
            ],
            TOGETHER,
        ),
    ),
    # What the batch had added was gone from the session after the rollback of the dry run: three bisections.
    "created, then deleted in a dry run": (
        "check_batches",
        Case(
            [],
            [
                Sent("chat.create", {"id": ONE, "platform": "irc", "external_id": "ada"}),
                Sent("chat.delete", {"id": ONE}, dry=True),
            ],
            TOGETHER,
        ),
    ),
    # Changes were those of rows that crud.get had given, not crud.list.
    "rows changed that were found in a list": (
        "check_books",
        Case(FOLDERS, [Sent("folder.run", {"id": ONE, "steps": [{"do": "list folder", "text": "ada"}]})], TOGETHER),
    ),
    # The database set null, and counted nothing.
    "a deletion that sets null": (
        "check_books",
        Case(
            [*FOLDERS, Sent("sticker.create", {"id": ONE, "folder_id": ONE})],
            [Sent("folder.delete", {"id": ONE})],
            TOGETHER,
        ),
    ),
    # Unique values were looked up as they were before the request.
    "a name freed and taken by one request": (
        "check_programs",
        Case(
            FOLDERS,
            [
                report(
                    {"do": "update folder", "id": ONE, "name": "eve"},
                    {"do": "create folder", "id": THREE, "name": "ada"},
                )
            ],
            [1],
        ),
    ),
    # The child was forgotten while the handler held it.
    "a child changed after its parent was deleted": (
        "check_programs",
        Case(
            [*FOLDERS, Sent("sticker.create", {"id": ONE, "folder_id": TWO})],
            [
                report(
                    {"do": "get sticker", "id": ONE},
                    {"do": "delete folder", "id": TWO},
                    {"do": "change sticker", "id": ONE, "text": "new"},
                )
            ],
            [1],
        ),
    ),
    # What is rolled back is forgotten; that the row had not been there was not.
    "looked for in vain, created, changed in a dry run, and looked for again": (
        "check_batches",
        Case(
            [Sent("user.create", {"id": ONE, "username": "ada"}), Sent("user.create", {"id": TWO, "username": "bob"})],
            [
                Sent("user.delete", {"id": ONE}),
                Sent("task.create", {"id": ONE, "user_id": ONE, "title": "ada"}),
                Sent("task.create", {"id": ONE, "user_id": TWO, "title": "bob"}),
                Sent("task.start", {"id": ONE}, dry=True),
                Sent("task.create", {"id": ONE, "user_id": ONE, "title": "eve"}),
            ],
            TOGETHER,
        ),
    ),
    # A row that was loaded for another request was known to be absent; alone, the transaction could not be asked.
    "a problem that has nothing to do with the refusal that was swallowed before it": (
        "check_batches",
        Case(
            [],
            [
                Sent("sticker.delete", {"id": ONE}, dry=True),
                report({"do": "swallow"}, {"do": "get sticker", "id": ONE}),
            ],
            TOGETHER,
        ),
    ),
    "a problem that was met in coping with a refusal": (
        "check_batches",
        Case([], [Sent("folder.delete", {"id": ONE}, dry=True), report({"do": "cope"})], TOGETHER),
    ),
    # A flush updates a table before it adds to it.
    "a row that comes to refer to a new one": (
        "check_batches",
        Case(
            [
                Sent("user.create", {"id": ONE, "username": "ada"}),
                Sent("chat.create", {"id": ONE, "platform": "ada", "external_id": "ada"}),
                FOLDERS[0],
            ],
            [
                Sent("chat.add_members", {"id": ONE, "user_ids": [ONE]}),
                FOLDERS[1],
                Sent("folder.update", {"id": ONE, "parent_id": TWO}),
            ],
            TOGETHER,
        ),
    ),
    # The check of the books looked for changes among the members that are left, and found none.
    "a member that is removed": (
        "check_books",
        Case(
            [
                Sent("user.create", {"id": ONE, "username": "ada"}),
                Sent("chat.create", {"id": ONE, "platform": "ada", "external_id": "ada"}),
                Sent("chat.add_members", {"id": ONE, "user_ids": [ONE]}),
            ],
            [Sent("chat.remove_members", {"id": ONE, "user_ids": [ONE]})],
            TOGETHER,
        ),
    ),
}
