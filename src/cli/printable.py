"""What a stranger has written, as a terminal may be given it."""


def printable(text: str) -> str:
    """On one line, and without what would steer a terminal: that is escaped as JSON escapes it."""
    return text if text.isprintable() else "".join(each if each.isprintable() else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    if character == "\n":
        return "\\n"
    units = character.encode("utf-16-be", "surrogatepass").hex(",", 2).split(",")
    return "".join(f"\\u{unit}" for unit in units)
