"""Reading an answer while it arrives: done as soon as its JSON is complete, an image in it spooled to disk.

The gateway may hold the connection open for minutes after the last byte of the JSON; and other hosts put the image into
the answer, as megabytes of base64.
"""

from __future__ import annotations

import binascii
import json
import re
import secrets
from typing import IO, TYPE_CHECKING, Any, Final

import orjson
import pybase64

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AnswerReader", "TooLarge", "decode_base64"]

_STRUCTURE: Final = re.compile(rb'["{}\[\]]')
_CONTENT: Final = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
"""what stands in a string: up to its closing quote, or to a backslash whose other half is yet to come"""
_BACKSLASH: Final = ord("\\")
_ESCAPE: Final = re.compile(rb"\\(u[0-9A-Fa-f]{4}|.)", re.DOTALL)
_LONG: Final = 64 * 1024
"""a string longer than this goes to the spool"""
_START: Final = 4000
"""bytes of it that stay at hand"""
_LONGEST_ESCAPE: Final = len(r"\ud83d\ude00")
"""bytes at an end that may be half a character"""


class TooLarge(Exception):
    """The answer is larger than any honest one."""


class AnswerReader:
    """Takes an answer piece by piece.

    Args:
        spool: makes the file that a long string goes to; called at most once.
        cap: bytes that an answer may have.

    Attributes:
        complete: a whole JSON object or array was read; what follows doesn't matter.
        spooled: the file with the long string as it stands in the JSON, if there was one.
    """

    def __init__(self, spool: Callable[[], IO[bytes]], *, cap: int) -> None:
        self._spool = spool
        self._left = cap
        self._kept = bytearray()
        self._begun = False
        self._depth = 0
        self._string_at = -1
        self._escaped = False
        self._mark = f"@spooled-{secrets.token_hex(8)}"
        self._start = b""
        self._to_file: IO[bytes] | None = None
        self.complete = False
        self.spooled: IO[bytes] | None = None

    @property
    def is_json(self) -> bool:
        """Whether it begins as a JSON object or array would."""
        return self._begun

    def text(self) -> str:
        """The first bytes of whatever came, for a message."""
        return self._kept[:2000].decode("utf-8", "replace")

    def value(self) -> Any:
        """The JSON value; a spooled string is replaced by a mark (``is_spooled``).

        An image that is paid for is not given up for what stands beside it: a prompt that was cut in the middle of an
        emoji, a bare line break, bytes that are no UTF-8, NaN.

        Raises:
            ValueError: it is no valid JSON.
        """
        try:
            return orjson.loads(self._kept)
        except ValueError:
            return _lenient(self._kept)

    def is_spooled(self, value: object) -> bool:
        """Whether a string of the value is the one in ``spooled``."""
        return value == self._mark

    def spooled_start(self) -> str:
        """How the spooled string begins, for a message."""
        for cut in range(_LONGEST_ESCAPE):
            try:
                return str(orjson.loads(b'"%b"' % self._start[: len(self._start) - cut]))
            except ValueError:
                continue
        return ""

    def feed(self, piece: bytes) -> bool:
        """Take a piece; True once the JSON is complete.

        Raises:
            TooLarge: more than ``cap`` bytes came.
        """
        self._left -= len(piece)
        if self._left < 0:
            raise TooLarge
        if not self._begun:
            if not self._kept and self._is_whole(piece):
                return True
            if not (piece := self._begin(piece)):
                return False
        at = 0
        while at < len(piece) and not self.complete:
            at = self._in_string(piece, at) if self._string_open else self._outside(piece, at)
        return self.complete

    def _is_whole(self, piece: bytes) -> bool:
        """Whether a first piece is all of the JSON, as a short answer is: then there is nothing to look for in it."""
        if len(piece) > _LONG or piece[:1] not in {b"{", b"["}:
            return False
        try:
            orjson.loads(piece)
        except ValueError:
            return False
        self._kept += piece
        self._begun = self.complete = True
        return True

    def _begin(self, piece: bytes) -> bytes:
        """Skip the space before the value; keep the start of what is no JSON for a message."""
        if not self._kept:
            piece = piece.lstrip()
        if piece[:1] in {b"{", b"["} and not self._kept:
            self._begun = True
            return piece
        self._kept += piece[: max(0, _LONG - len(self._kept))]
        return b""

    @property
    def _string_open(self) -> bool:
        return self._string_at >= 0

    def _outside(self, piece: bytes, at: int) -> int:
        found = _STRUCTURE.search(piece, at)
        end = len(piece) if found is None else found.end()
        self._kept += piece[at:end]
        if found is None:
            return end
        match found.group():
            case b'"':
                self._string_at = len(self._kept)
            case b"{" | b"[":
                self._depth += 1
            case _:
                self._depth -= 1
                self.complete = self._depth <= 0
        return end

    def _in_string(self, piece: bytes, at: int) -> int:
        if self._escaped:
            self._escaped = False
            self._take(piece[at : at + 1])
            return at + 1
        content = _CONTENT.match(piece, at)
        end = at if content is None else content.end()
        if end == len(piece) or piece[end] == _BACKSLASH:
            self._escaped = end < len(piece)
            self._take(piece[at:])
            return len(piece)
        self._take(piece[at:end])
        self._close_string()
        return end + 1

    def _take(self, content: bytes) -> None:
        if self._to_file is not None:
            self._to_file.write(content)
            return
        self._kept += content
        if len(self._kept) - self._string_at > _LONG and self.spooled is None:
            self._to_file = self.spooled = self._spool()
            self._start = bytes(self._kept[self._string_at : self._string_at + _START])
            self._to_file.write(self._kept[self._string_at :])
            del self._kept[self._string_at :]

    def _close_string(self) -> None:
        if self._to_file is not None:
            self._kept += self._mark.encode()
            self._to_file = None
        self._kept += b'"'
        self._string_at = -1


def _lenient(text: bytearray) -> Any:
    """JSON as many a server writes it; what can't be encoded becomes a question mark."""
    try:
        value = json.loads(text.decode("utf-8", "replace"), strict=False)
        return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def decode_base64(source: IO[bytes], target: IO[bytes]) -> None:
    """Decode a JSON string of base64 (or a whole data URL) from file to file, in pieces. Blocks.

    Raises:
        ValueError: it is no base64.
    """
    source.seek(0)
    head = source.read(64)
    source.seek(head.index(b",") + 1 if head.startswith(b"data:") and b"," in head else 0)
    rest = b""
    while piece := source.read(1 << 20):
        rest += piece
        # an escape of at most 6 bytes may be cut by the piece's end
        cut = rest.rfind(b"\\", max(0, len(rest) - 6))
        ready, rest = (rest, b"") if cut < 0 else (rest[:cut], rest[cut:])
        if b"\\" in ready:
            # the one that is common first: a call for each would take a hundred times longer
            ready = _ESCAPE.sub(_unescape, ready.replace(b"\\/", b"/"))
        ready = ready.translate(None, b"\r\n ")
        whole = len(ready) // 4 * 4
        ready, rest = ready[:whole], ready[whole:] + rest
        target.write(_decoded(ready))
    target.write(_decoded(_ESCAPE.sub(_unescape, rest).translate(None, b"\r\n ")))


def _decoded(text: bytes) -> bytes:
    try:
        return pybase64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error


def _unescape(found: re.Match[bytes]) -> bytes:
    code = found.group(1)
    if code[:1] == b"u":
        return chr(int(code[1:], 16)).encode()
    return {b"n": b"\n", b"r": b"\r"}.get(code, code)
