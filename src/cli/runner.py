"""Runs what talks to the broker; where it cannot, the program ends with a line instead of a traceback."""

import asyncio
import logging
import signal
from collections.abc import Coroutine
from typing import Any

from aio_pika.exceptions import AMQPError, AuthenticationError, ProbableAuthenticationError

from src.amqp import connections
from src.amqp.frame_reader import OpenRefused
from src.cli.ending import FAILED, NOT_POSSIBLE, STOPPED, end
from src.cli.target import Target
from src.client import NoReply, NoService
from src.errors import why


def run[T](target: Target, work: Coroutine[Any, Any, T]) -> T:
    """Run to the end, or end the program with exit code 1 or 2."""
    for library in ("aio_pika", "aiormq"):  # what they would say is said here, once
        logging.getLogger(library).setLevel(logging.CRITICAL)
    broker = f"RabbitMQ at {connections.address(target.rabbitmq_url)}"
    try:
        return asyncio.run(_until_signalled(work))
    except asyncio.CancelledError:
        end("stopped", STOPPED)
    except BrokenPipeError:  # our own output, and no connection to the broker
        raise
    except NoReply as error:
        end(str(error), FAILED)
    except NoService as error:
        end(str(error), NOT_POSSIBLE)
    except (AuthenticationError, ProbableAuthenticationError) as error:
        end(f"{broker} refuses the login: {error}", NOT_POSSIBLE)
    except OpenRefused as error:
        end(f"{broker} refuses the connection: {why(error)}", NOT_POSSIBLE)
    except (AMQPError, OSError) as error:
        end(f"{broker} cannot be reached: {why(error)}", NOT_POSSIBLE)


async def _until_signalled[T](work: Coroutine[Any, Any, T]) -> T:
    """Run until SIGINT or SIGTERM, which cancel it, so that it can clean up."""
    task = asyncio.ensure_future(work)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await task
