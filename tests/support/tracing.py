"""Which functions of the service run, recorded by ``sys.monitoring``."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType

from tests.support.pages import ROOT

TOOL = 3  # the interpreter reserves 0, 1, 2 and 5 for debuggers, coverage, profilers and optimizers


@contextmanager
def traced() -> Iterator[list[tuple[str, str]]]:
    """Yield the list that grows with each call: the file, relative to the project, and the function's name."""
    calls: list[tuple[str, str]] = []
    sources = f"{ROOT / 'src'}/"

    def started(code: CodeType, _offset: int) -> object:
        if not code.co_filename.startswith(sources):
            return sys.monitoring.DISABLE
        calls.append((code.co_filename.removeprefix(f"{ROOT}/"), code.co_qualname))
        return None

    sys.monitoring.use_tool_id(TOOL, "tests")
    sys.monitoring.register_callback(TOOL, sys.monitoring.events.PY_START, started)
    sys.monitoring.set_events(TOOL, sys.monitoring.events.PY_START)
    try:
        yield calls
    finally:
        sys.monitoring.set_events(TOOL, 0)
        sys.monitoring.register_callback(TOOL, sys.monitoring.events.PY_START, None)
        sys.monitoring.free_tool_id(TOOL)
        sys.monitoring.restart_events()
