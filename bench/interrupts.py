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

    found = uvloop.run(cancellable())
    end()  # the loop has taken its handlers away with it; after an error, what cleans up ignores signals
    return found


def _cancel() -> None:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def stop() -> None:
        err.print("stopping")
        for number in SIGNALS:
            loop.remove_signal_handler(number)
        ignore()
        if task:
            task.cancel()

    for number in SIGNALS:
        loop.add_signal_handler(number, stop)


def ignore() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _raise(*_: object) -> None:
    ignore()
    raise KeyboardInterrupt
