"""Where the commands go, and how they end where they cannot get there."""

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, NoReturn
from urllib.parse import urlsplit

import typer
from aio_pika.exceptions import AMQPError, AuthenticationError, InvalidFrameError, ProbableAuthenticationError

from src.client import NoReply, NoService

NO_ANSWER = 1
NO_WAY = 2


@dataclass(frozen=True)
class Target:
    """The servers and the name of the service, as the settings have them. ``database_url`` is PostgreSQL's own form."""

    rabbitmq_url: str = field(repr=False)
    database_url: str = field(repr=False)
    service: str

    @property
    def broker(self) -> str:
        """The broker's address, without its password."""
        url = urlsplit(self.rabbitmq_url)
        return f"{url.hostname}:{url.port or 5672}"


def of(context: typer.Context) -> Target:
    """What ``main.py`` found in the settings; it looks there only when a command asks."""
    target: Target = context.obj()
    return target


def run[T](target: Target, work: Coroutine[Any, Any, T]) -> T:
    """Run to the end, or end the program: with a line on stderr instead of a traceback, and exit code 1 or 2."""
    for library in ("aio_pika", "aiormq"):  # what they would say is said here, once
        logging.getLogger(library).setLevel(logging.CRITICAL)
    try:
        return asyncio.run(work)
    except BrokenPipeError:  # our own output, and no connection to the broker
        raise
    except NoReply as error:
        end(str(error), NO_ANSWER)
    except NoService as error:
        end(str(error), NO_WAY)
    except (AuthenticationError, ProbableAuthenticationError) as error:
        end(f"RabbitMQ at {target.broker} refuses the login: {error}", NO_WAY)
    except InvalidFrameError:  # it answers, and closes the connection instead of opening it
        end(f"RabbitMQ at {target.broker} refuses the connection: is there such a virtual host?", NO_WAY)
    except (AMQPError, OSError) as error:
        end(f"RabbitMQ at {target.broker} cannot be reached: {str(error) or type(error).__name__}", NO_WAY)


def end(line: str, code: int) -> NoReturn:
    """End the program with one line on stderr."""
    typer.echo(line.replace("\n", " "), err=True)
    raise typer.Exit(code)
