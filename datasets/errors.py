"""DataError: what is wrong with a recording, a file or a data set, in words meant for the user."""

from __future__ import annotations


class DataError(ValueError):
    """A mistake in somebody's data or in where it was looked for; commands print it without a traceback."""
