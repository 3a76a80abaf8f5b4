"""The errors of a call without a reply. The problem of a reply is a class of ``errors``."""


class NoService(Exception):
    """The broker has no exchange or queue of the service."""

    def __init__(self, service: str) -> None:
        super().__init__(f"no service named {service!r} has been started on this broker")


class NoReply(TimeoutError):
    """No reply came within the timeout. The request may have been served or not."""

    def __init__(self, operation: str, seconds: float, message_id: str) -> None:
        self.message_id = message_id
        super().__init__(
            f"{operation} had no answer within {seconds:g} s; "
            f"it may be asked again under the same message_id, {message_id}"
        )
