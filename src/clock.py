"""The time, as rows, events and deadlines have it."""

from datetime import UTC, datetime, timedelta


class _Clock:
    """UTC, to the microsecond, strictly increasing within the process: of two changes the later one is later."""

    def __init__(self) -> None:
        self._last = datetime.min.replace(tzinfo=UTC)

    def __call__(self) -> datetime:
        self._last = max(datetime.now(UTC), self._last + timedelta(microseconds=1))
        return self._last


now = _Clock()


def timestamp(moment: datetime) -> str:
    """RFC 3339, UTC."""
    return moment.isoformat().replace("+00:00", "Z")
