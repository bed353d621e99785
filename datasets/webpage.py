"""A web page in place of a file: what a download site sends when it is busy, has moved, or wants a person to look."""

from __future__ import annotations

from spiking.datasets.errors import DataError

BEGINS = (b"<!doctype html", b"<html", b"<?xml", b"<head")


def refuse_page(content: bytes, name: object, advice: str = "get the file itself") -> None:
    """Make sure that a file is not a web page that was saved in its place.

    Arguments:
        content: the file's, or its beginning.
        name: what errors call the file.
        advice: how to get it.

    Raises:
        DataError: if it is one.
    """
    if content[:512].lstrip(b"\xef\xbb\xbf \r\n\t").lower().startswith(BEGINS):
        raise DataError(f"{name}: a web page was saved in place of the file. Delete it; {advice}")
