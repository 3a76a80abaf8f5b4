"""What ``config.py`` reads settings with."""
