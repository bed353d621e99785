"""Mistake: what a user got wrong in the arguments, for one line and exit status 2."""


class Mistake(Exception):
    """Something in the arguments can't be done; the message says what came and what was wanted."""
