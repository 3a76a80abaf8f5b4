"""Which known operations look most like one that nobody knows."""

import difflib
import re
from collections.abc import Collection

LONGEST = 64  # characters of what is compared: longer ones are no typing errors, and cost the square of their length
MOST = 3


def operations(asked: str, known: Collection[str]) -> list[str]:
    """Up to three of the ``known`` operations that are nearest to ``asked``: of the nearest entity the nearest names.

    To compare whole names would cost ten times as much, and find ``query.list`` for ``query.finish``.
    """
    if len(asked) > LONGEST:
        return []
    entity, _, name = re.sub(r"[^a-z0-9]+", "_", asked.lower()).partition("_")
    split = [key.split(".", 1) for key in known]
    for near in difflib.get_close_matches(entity, {entity for entity, _ in split}, 1):
        names = [own for entity, own in split if entity == near]
        return [f"{near}.{own}" for own in difflib.get_close_matches(name, names, MOST)]
    return []
