"""Hears the events of the demo, shows them as they come and remembers them."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from rich.markup import escape

from src.cli.output import Output
from src.client import Event

SECONDS = 10.0


@dataclass
class Witness:
    output: Output
    shows: bool = True
    events: list[Event] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def listen(self, events: AsyncIterator[Event]) -> None:
        """For as long as it is not cancelled."""
        async for event in events:
            self.events.append(event)
            self._news.set()
            if self.shows:
                self._show(event)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return when it holds, which is looked at after each event, or when too much time has passed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SECONDS):
                while not holds():
                    self._news.clear()
                    await self._news.wait()

    def heard(self, name: str) -> bool:
        """Whether an event of this name has come."""
        return any(event.name == name for event in self.events)

    def times(self) -> Counter[str | None]:
        """How often each event came, by its id."""
        return Counter(event.id for event in self.events)

    def _show(self, event: Event) -> None:
        about = next((event.body[key] for key in ("username", "title", "text") if event.body.get(key)), "")
        version = f"v{event.entity_version}" if event.entity_version else ""
        line = f"  [cyan]{event.name:<20}[/] {version:<3} {escape(str(about))}"
        self.output.print(line, soft_wrap=True)
