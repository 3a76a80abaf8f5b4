"""What a Database reports about itself."""

from dataclasses import dataclass

from src.schema import Revision


@dataclass(frozen=True, slots=True)
class Pool:
    """Connections ``in_use``, the largest number of them, and the sessions that wait for a connection."""

    in_use: int
    limit: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Check:
    """The state of the database. ``error`` is why a value is missing; it holds no password."""

    reachable: bool
    pool: Pool
    writable: bool = False
    latency: float | None = None  # seconds
    revision: str | None = None  # of the schema
    schema: Revision | None = None  # the same, compared with this code
    error: str | None = None

    @property
    def ok(self) -> bool:
        """Whether this code can use the database. Migrations keep an older code working, so AHEAD is fine."""
        return self.writable and self.schema in {Revision.CURRENT, Revision.AHEAD}
