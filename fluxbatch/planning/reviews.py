"""``reviews.jsonl``: what people say of images, a line a verdict, only ever appended to.

Lines merge as other text does, all of both sides kept: the latest line about an image counts, by ``at``, wherever it
stands. At the very same moment the more cautious one does: withdrawn, then rejected, then approved.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import orjson

from fluxbatch.model.review import Review, Verdict
from fluxbatch.planning.flaw import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["REVIEWS_NAME", "BadLine", "Verdicts", "facts_of", "moment_text", "read_moment", "review_line", "review_of"]

REVIEWS_NAME: Final = "reviews.jsonl"

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_MARKERS: Final = (b"<<<<<<<", b"=======", b">>>>>>>", b"|||||||")
_FIRST_YEAR: Final = 2000
_LAST_YEAR: Final = 9000
"""beyond, calendars come to their ends"""
_TICK: Final = timedelta(microseconds=1)
_MEND: Final = "mend or remove the line; git log -p shows what it was"


class BadLine(ValueError):
    """A line that can't be used, and what to do about it."""

    def __init__(self, message: str, remedy: str = _MEND) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


def review_line(review: Review) -> bytes:
    """A line of the file, without its end."""
    return orjson.dumps(review)


def review_of(line: bytes) -> Review:
    """The review that a line holds; keys that this version doesn't know are left alone.

    Raises:
        BadLine: it holds none.
    """
    facts = facts_of(line)
    job_id, sha256, verdict, at = (facts.get(name) for name in ("id", "sha256", "verdict", "at"))
    note, by = facts.get("note") or "", facts.get("by") or ""
    if not isinstance(job_id, str) or not job_id:
        raise BadLine("'id' names no job")
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise BadLine(f"'sha256' is {shown(sha256)}, not the 64 hex digits of an image")
    if verdict is not None and verdict not in list(Verdict):
        raise BadLine(f"'verdict' is {shown(verdict)}", "write approved, rejected or null")
    if not isinstance(note, str) or not isinstance(by, str):
        raise BadLine("'note' or 'by' is no text")
    read_moment(at)
    return Review(job_id, sha256, None if verdict is None else Verdict(verdict), note, by, str(at))


def facts_of(line: bytes) -> dict[str, Any]:
    """The mapping that a line of JSON holds.

    Raises:
        BadLine: it holds none.
    """
    if line.startswith(_MARKERS):
        remedy = "keep the lines of both sides, remove the markers; 'merge=union' in .gitattributes does so by itself"
        raise BadLine("is left from a merge that wasn't settled", remedy)
    try:
        facts = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise BadLine(f"is not JSON: {error}") from None
    if not isinstance(facts, dict):
        raise BadLine("is no JSON object")
    return facts


def moment_text(epoch_s: float, after: str = "") -> str:
    """A moment as it is written, in UTC and to the microsecond; later than ``after``, should that lie ahead."""
    moment = datetime.fromtimestamp(epoch_s, UTC)
    if after:
        moment = max(moment, read_moment(after).astimezone(UTC) + _TICK)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def read_moment(text: object) -> datetime:
    """The moment that a text tells.

    Raises:
        BadLine: it tells none.
    """
    try:
        moment = datetime.fromisoformat(str(text))
        if moment.tzinfo is not None and _FIRST_YEAR <= moment.year <= _LAST_YEAR:
            return moment
    except ValueError:
        pass
    raise BadLine(f"'at' is {shown(text)}", "write a moment as 2026-01-31T12:00:00Z")


class Verdicts:
    """What is said of images. Adding the same again, or in another order, makes no difference."""

    def __init__(self, reviews: Iterable[Review] = ()) -> None:
        # by job and image, the latest line and what it is compared by
        self._last: dict[str, dict[str, tuple[tuple[datetime, bytes], Review]]] = {}
        for review in reviews:
            self.add(review)

    def add(self, review: Review) -> None:
        """Take in a line."""
        images = self._last.setdefault(review.id, {})
        rank = (read_moment(review.at), review_line(review))
        known = images.get(review.sha256)
        if known is None or rank > known[0]:
            images[review.sha256] = rank, review

    @property
    def jobs(self) -> set[str]:
        """The jobs of which anything is said."""
        return set(self._last)

    def of(self, job_id: str, sha256: str) -> Review | None:
        """What stands of an image; its verdict may be withdrawn."""
        known = self._last.get(job_id, {}).get(sha256)
        return None if known is None else known[1]

    def of_others(self, job_id: str, sha256: str) -> bool:
        """Whether there are verdicts on other images of a job, its earlier ones."""
        images = self._last.get(job_id, {})
        return any(one.verdict is not None for known, (_, one) in images.items() if known != sha256)

    def ids(self, verdict: Verdict) -> set[str]:
        """The jobs of which some image, present or past, has this verdict."""
        return {
            job_id
            for job_id, images in self._last.items()
            if any(review.verdict is verdict for _, review in images.values())
        }
