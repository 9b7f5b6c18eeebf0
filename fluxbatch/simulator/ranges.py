"""The `Range` and `If-Range` headers, as far as a blob store needs them: one range of bytes."""

from __future__ import annotations

import re

_ONE_RANGE = re.compile(r"bytes=(?:([0-9]+)-([0-9]*)|-([0-9]+))", re.IGNORECASE)


class UnsatisfiableRangeError(Exception):
    """A valid range that begins after the end of the file: 416."""


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """First byte and the one after the last; None: the whole file (no header, or one to be ignored).

    :raises UnsatisfiableRangeError: nothing of the file lies in the range.
    """
    match = _ONE_RANGE.fullmatch(header.strip()) if header else None
    if not match:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        if int(suffix) == 0 or size == 0:
            raise UnsatisfiableRangeError
        return max(size - int(suffix), 0), size
    start = int(first)
    if last and int(last) < start:
        return None
    if start >= size:
        raise UnsatisfiableRangeError
    return start, min(int(last) + 1, size) if last else size


def if_range_holds(header: str | None, etag: str, last_modified: str) -> bool:
    """Whether a range may be answered: no condition, or exactly this version of the file."""
    return header is None or header.strip() in (etag, last_modified)
