"""Ctrl-C and SIGTERM: the first one ends the program, and none interrupts what cleans up after it."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any

import uvloop

from bench.screen import err

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def end() -> None:
    """From now on the first signal raises KeyboardInterrupt."""
    for number in SIGNALS:
        signal.signal(number, _raise)


def run[T](main: Coroutine[Any, Any, T]) -> T:
    """What it returns; while it runs, the first signal cancels it instead."""

    async def cancellable() -> T:
        _cancel()
        return await main

    try:
        found = uvloop.run(cancellable())
    except BaseException:
        ignore()  # what cleans up is not to be interrupted
        raise
    end()
    return found


def _cancel() -> None:
    """No handlers of the loop's own: to take one away lets a signal end the process for a moment."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def stop(*_: object) -> None:
        ignore()
        err.print("stopping")
        if task:
            loop.call_soon_threadsafe(task.cancel)

    for number in SIGNALS:
        signal.signal(number, stop)


def ignore() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _raise(*_: object) -> None:
    ignore()
    raise KeyboardInterrupt
