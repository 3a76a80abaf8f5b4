"""Beneath ``crud``: the rows of one transaction."""
