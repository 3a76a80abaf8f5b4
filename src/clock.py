"""The time, as rows, events and deadlines have it: the database's, and this machine's until that was asked for.

Between two looks at the database's clock the monotonic one counts: whoever sets the machine's clock moves nothing.
"""

from datetime import UTC, datetime
from time import monotonic_ns, time_ns

LONGEST_HOLD = 60_000_000  # microseconds: a clock that is further ahead was wrong, and is not waited for

_moment = datetime.fromtimestamp


class _Clock:
    """UTC, to the microsecond, strictly increasing within the process: of two changes the later one is later.

    A correction back is waited out, unless it is one of more than a minute: a wrong time must not stay.
    """

    __slots__ = ("_last", "_offset")

    def __init__(self) -> None:
        self._offset = (time_ns() - monotonic_ns()) // 1000
        self._last = 0

    def __call__(self) -> datetime:
        moment = monotonic_ns() // 1000 + self._offset
        if moment <= self._last:
            moment = self._last + 1
        self._last = moment
        return _moment(moment / 1_000_000, UTC)

    def correct(self, told: datetime, asked: int) -> None:
        """Go by what another clock has told since ``asked``, a ``monotonic_ns()``: the sooner it told, the better."""
        answered, moment = monotonic_ns() // 1000, round(told.timestamp() * 1_000_000)
        self._offset = min(max(self._offset, moment - answered), moment - asked // 1000)
        if self._last - LONGEST_HOLD > answered + self._offset:
            self._last = 0


now = _Clock()


def timestamp(moment: datetime) -> str:
    """RFC 3339, UTC."""
    return moment.isoformat().replace("+00:00", "Z")
