"""What a call raises where no answer came; a problem that was answered is a class of ``errors``."""


class NoService(Exception):
    """Nothing on the broker takes the requests."""

    def __init__(self, service: str) -> None:
        super().__init__(f"no service named {service!r} has been started on this broker")


class NoReply(TimeoutError):
    """The time is up, and whether the request was served is not known."""

    def __init__(self, operation: str, seconds: float, message_id: str) -> None:
        self.message_id = message_id
        super().__init__(
            f"{operation} had no answer within {seconds:g} s; "
            f"it may be asked again under the same message_id, {message_id}"
        )
