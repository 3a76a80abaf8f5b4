"""What the demo plays: who speaks, about what, and how each question ends."""

from dataclasses import dataclass
from enum import StrEnum


class End(StrEnum):
    """What becomes of a question; the value is the status of its row."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    STARTED = "in_progress"
    UNTOUCHED = "pending"


@dataclass(frozen=True)
class Question:
    text: str
    end: End = End.COMPLETED
    said: str = ""
    """The answer of one that was completed, the reason of one that failed."""


@dataclass(frozen=True)
class Conversation:
    username: str | None
    title: str
    questions: tuple[Question, ...]
    closed: bool = True


USERS = (
    {"username": "mira", "email": "mira@example.org", "name": "Mira Lindqvist", "attributes": {"language": "sv"}},
    {"username": "tomasz", "email": "tomasz@example.org", "name": "Tomasz Wrona", "attributes": {"plan": "team"}},
    {"username": "abena", "name": "Abena Owusu", "attributes": {"beta": True, "seats": 12}},
    {"username": "jun", "email": "jun@example.org"},
)

CONVERSATIONS = (
    Conversation(
        "mira",
        "Night train to Kiruna",
        (
            Question("Which train gets me from Stockholm to Kiruna overnight?", said="The 18:11; it arrives at 09:45."),
            Question("Can I take my bicycle?", said="Only folded and in a bag."),
            Question("And a dog?", said="Yes, in a compartment where pets are allowed; book it with the ticket."),
        ),
    ),
    Conversation(
        "tomasz",
        "The invoice of March",
        (
            Question("Why does the March invoice list fourteen seats?", said="Two were added on the 9th of March."),
            Question("Can you send it to our bookkeeper?", End.FAILED, "the mail server did not answer in time"),
            Question("Then please send it to me.", said="Done, it should be with you in a minute."),
        ),
    ),
    Conversation(
        "abena",
        "Sourdough that does not rise",
        (
            Question("My dough is flat after eight hours. What went wrong?", said="It is too cold: aim for 24 °C."),
            Question("Is rye flour better for the starter?", End.CANCELLED),
            Question("How do I know that the starter is ready?", said="It doubles within six hours of feeding."),
        ),
    ),
    Conversation(
        "jun",
        "Names for a cat",
        (
            Question("Suggest a name for a grey cat who steals socks.", said="Magpie. Or Filou, if he looks innocent."),
            Question("Something shorter?", End.STARTED),
        ),
        closed=False,
    ),
    Conversation(None, "A visitor", (Question("Is anybody there? 🙂", End.UNTOUCHED),), closed=False),
)
