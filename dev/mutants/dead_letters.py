"""Mutants of ``src/dead_letters``."""

from dev.mutants.mutant import Mutant

MUTANTS = [
    Mutant(
        "a replay is another request each time",
        "src/dead_letters/dead_letter.py",
        'uuid.uuid5(_IDS, origin + b"\\0%d" % number)',
        "uuid.uuid4()",
        ["tests/dead_letters/test_dead_letters.py::test_a_replay_that_dies_before_the_letter_is_acked_is_applied_once"],
    ),
    Mutant(
        "a change that stands is made again",
        "src/dead_letters/dead_letter.py",
        "        if self.reason == _UNPUBLISHED:\n",
        "        if not self.reason:\n",
        ["tests/dead_letters/test_dead_letters.py::test_what_must_not_be_sent_again_is_not_and_that_is_said"],
    ),
    Mutant(
        "what somebody was told to ask again is sent again with all",
        "src/dead_letters/queue.py",
        "(None if named else dead_letter.uncertain)",
        "None",
        ["tests/dead_letters/test_dead_letters.py::test_a_letter_whose_change_may_stand_is_sent_again_only_by_its_id"],
    ),
]
