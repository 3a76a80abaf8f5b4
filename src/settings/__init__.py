"""What ``config.py`` reads settings with: values in files, URLs and their parts."""


class WrongSettings(Exception):
    """A setting has a value that it cannot have; the message is a line for each."""
