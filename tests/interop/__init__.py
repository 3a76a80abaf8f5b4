"""The same request from other clients than ours, each a program of its own that prints the answer.

Each takes URL EXCHANGE OPERATION BODY MESSAGE_ID CORRELATION_ID, and is meant to be read by the users of its library.
"""
