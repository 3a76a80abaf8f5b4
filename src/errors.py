"""What can go wrong, and what the requester is told.

::

    Exception
    ├── Problem                      an answer: the request's fault, or final for now
    │   ├── Malformed                400  decided from the bytes alone, never stored
    │   ├── UnsupportedEncoding      400  decided from the bytes alone, never stored
    │   ├── Invalid                  422  from the bytes, never stored; or a value that the database refuses
    │   ├── TooLarge                 413  from the bytes, never stored; or a row that nobody could read
    │   ├── ResultTooLarge           413
    │   ├── UnknownOperation         404  retryable: a newer version may know it
    │   ├── NotFound                 404
    │   ├── Conflict                 409
    │   ├── ForeignKey               409
    │   ├── IllegalTransition        409
    │   ├── VersionMismatch          412
    │   ├── IdempotencyKeyReused     422
    │   ├── IdempotencyKeyRequired   422
    │   ├── Forbidden                403
    │   ├── DeadlineExceeded         504  retryable
    │   ├── RateLimited              429  retryable, with when to come back
    │   └── Internal                 500  retryable
    │       └── DeliveryLimit        500  retryable
    ├── Transient                    the moment's fault: run the batch again at once
    └── Unavailable                  the infrastructure's fault: wait, then run it again

The class's docstring is the problem's default ``detail``.
"""

import inspect
import re
import traceback
from collections.abc import Sequence
from typing import Any, ClassVar

PREFIX = "urn:db:problem:"
LONGEST_NAMED = 100  # characters of a name that a detail holds


def place(error: BaseException) -> str:
    """An exception's type and where it was raised, without its message: that may hold what a request said."""
    trace = traceback.extract_tb(error.__traceback__)
    where = f" at {trace[-1].filename}:{trace[-1].lineno} in {trace[-1].name}" if trace else ""
    return f"{type(error).__name__}{where}"


def why(error: BaseException) -> str:
    """What an error of a library says, its first line; a time-out says nothing by itself."""
    otherwise = "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
    return str(error).partition("\n")[0] or otherwise


class Problem(Exception):
    """The request could not be served."""

    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    version: str | None = None  # of the service that answered, where another one may answer otherwise
    retry_after: float | None = None  # seconds, before which it is answered the same

    def __init__(self, detail: str | None = None, errors: Sequence[dict[str, str]] = ()) -> None:
        self.detail = detail or inspect.cleandoc(self.__doc__ or "")
        self.errors = tuple(errors)
        super().__init__(self.detail)

    @classmethod
    def name(cls) -> str:
        """The problem's name on the wire: ``VersionMismatch`` is ``version-mismatch``."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", cls.__name__).lower()

    def document(self) -> dict[str, Any]:
        """The problem as RFC 9457 has it; ``errors`` hold a pointer and a message, never a value."""
        document = {
            "type": PREFIX + self.name(),
            "title": self.name().replace("-", " ").capitalize(),
            "status": self.status,
            "detail": self.detail,
            "errors": list(self.errors),
            "retryable": self.retryable,
        }
        own = {"version": self.version, "retry_after": self.retry_after}
        return document | {name: value for name, value in own.items() if value is not None}


class Malformed(Problem):
    """The message is not a JSON object in UTF-8."""

    status = 400


class UnsupportedEncoding(Problem):
    """The body must be plain application/json in UTF-8, not compressed."""

    status = 400


class Invalid(Problem):
    """The request does not fit the operation's schema."""

    status = 422


class TooLarge(Problem):
    """The body is larger than this service takes."""

    status = 413


class ResultTooLarge(Problem):
    """The answer is larger than a message may be; ask for less."""

    status = 413


class UnknownOperation(Problem):
    """This version of the service does not know the operation."""

    status = 404
    retryable = True  # to another version; the same one answers the same

    @classmethod
    def named(cls, asked: str, nearest: Sequence[str], version: str) -> "UnknownOperation":
        """This problem, with what was asked for, of which not all may be printable, and what may have been meant."""
        name = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in asked[:LONGEST_NAMED])
        meant = f" Nearest to it are {', '.join(nearest)}." if nearest else ""
        problem = cls(f"Version {version} of the service does not know the operation {name!r}.{meant}")
        problem.version = version
        return problem


class NotFound(Problem):
    """There is no such row."""

    status = 404


class Conflict(Problem):
    """A row with this id or unique value exists."""

    status = 409


class ForeignKey(Problem):
    """The row refers to one that does not exist, or is still referred to."""

    status = 409


class IllegalTransition(Problem):
    """The row's status does not allow this."""

    status = 409


class VersionMismatch(Problem):
    """The row was changed since this version of it was read."""

    status = 412


class IdempotencyKeyReused(Problem):
    """Another request was sent under this message_id."""

    status = 422


class IdempotencyKeyRequired(Problem):
    """A write needs a message_id."""

    status = 422


class Forbidden(Problem):
    """The sender may not do this."""

    status = 403


class DeadlineExceeded(Problem):
    """The request's time had passed before it was served."""

    status = 504
    retryable = True


class RateLimited(Problem):
    """The sender has made more requests than it may."""

    status = 429
    retryable = True

    @classmethod
    def until(cls, seconds: float) -> "RateLimited":
        """This problem, with the seconds after which to come back."""
        problem = cls()
        problem.retry_after = seconds
        return problem


class Internal(Problem):
    """The service failed on this request; its operators were told."""

    status = 500
    retryable = True

    @classmethod
    def because(cls, error: BaseException) -> "Internal":
        """This problem, with the exception that only operators are told of."""
        problem = cls()
        problem.__cause__ = error
        return problem


class DeliveryLimit(Internal):
    """The request was delivered again and again, and never acked."""


class Transient(Exception):
    """The database asked to run the transaction again (a deadlock, a serialization failure, a lock timeout)."""


class Unavailable(Exception):
    """The database or the broker cannot be used now; nothing is lost by waiting."""
