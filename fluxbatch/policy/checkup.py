"""What the facts about a machine, its settings and its API mean for a run: fine, doubtful, or in the way of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from fluxbatch.model.state import Reason
from fluxbatch.policy.remedies import REMEDY
from fluxbatch.policy.verdict import Complaint, judge

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

__all__ = [
    "Check",
    "Level",
    "exit_code_of",
    "judge_answer",
    "judge_clock",
    "judge_files",
    "judge_models",
    "judge_space",
]

_USAGE: Final = 2
_STOPPED: Final = 3
_SKEW_S: Final = 5.0
_LITTLE_SPACE: Final = 1 << 30
_FILES_OF_A_REQUEST: Final = 2
"""its connection and the photo that is being sent; or the connection of a result and the file that it lands in"""
_OTHER_FILES: Final = 64
"""ledger, log, streams, modules, the event loop, and room to spare"""
_MOST_NAMED: Final = 10


class Level(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Check:
    """One check and how it ended.

    Attributes:
        name: stable, for scripts.
        message: what was found; free of secrets.
        remedy: what to do about it; empty if there is nothing to do.
        exit_code: of a problem: 2 if a run would not start, 3 if it would stop early.
    """

    name: str
    level: Level
    message: str
    remedy: str = ""
    exit_code: int = 0

    @classmethod
    def ok(cls, name: str, message: str) -> Check:
        """All is well, or there is nothing to tell."""
        return cls(name, Level.OK, message)

    @classmethod
    def warning(cls, name: str, message: str, remedy: str) -> Check:
        """A run would go through, with something to know."""
        return cls(name, Level.WARNING, message, remedy)

    @classmethod
    def unusable(cls, name: str, message: str, remedy: str) -> Check:
        """A run would not start."""
        return cls(name, Level.PROBLEM, message, remedy, _USAGE)

    @classmethod
    def stopping(cls, name: str, message: str, remedy: str) -> Check:
        """A run would stop early."""
        return cls(name, Level.PROBLEM, message, remedy, _STOPPED)


def exit_code_of(checks: Iterable[Check]) -> int:
    """0 if nothing is a problem; else 2 if a run would not start, and 3 if it would stop early."""
    codes = {check.exit_code for check in checks} - {0}
    return min(codes, default=0)


def judge_answer(complaint: Complaint, *, with_key: bool) -> Check:
    """What an answer to the question for models means that holds no list of them."""
    said = f"HTTP {complaint.status}: {complaint.message}"
    reason = judge(complaint).reason
    if complaint.status == 401 and not with_key:
        return Check.ok("api", "it answers; whether a key is accepted can't be told without one")
    if 300 <= complaint.status < 400 or "invalid url" in complaint.message.casefold():
        return Check.unusable("api", said, "check the base URL: it looks like https://api.apiyi.com/v1")
    if complaint.status in {404, 405}:
        return Check.warning(
            "api", f"{said}: it lists no models, so whether the key is accepted can't be told", "check the base URL"
        )
    if reason is Reason.RATE_LIMITED:
        return Check.warning("api", said, "it answers, and is busy: try again in a minute")
    if reason is Reason.UNKNOWN_OUTCOME:  # nothing was asked for that costs
        return Check.stopping("api", f"it doesn't answer as the API does: {said}", "check the base URL and the proxy")
    return Check.stopping("api", said, REMEDY[reason])


def judge_models(listed: Collection[str], known: Iterable[str]) -> Check:
    """Which of the models that we know can be asked for."""
    names = list(known)
    missing = [name for name in names if name not in listed]
    if not missing:
        return Check.ok("models", f"all {len(names)} that fluxbatch knows are listed")
    words = ", ".join(missing[:_MOST_NAMED])
    return Check.warning(
        "models",
        f"{len(missing)} of {len(names)} are not listed: {words}",
        "jobs of theirs may fail: choose another model, or ask the gateway for access",
    )


def judge_clock(server: float | None, asked_at: float, heard_at: float) -> Check:
    """The local clock against a ``Date`` header, which has whole seconds and was written between two local moments."""
    if server is None:
        return Check.warning("clock", "the answer has no readable Date", "compare your clock with another one")
    early, late = asked_at - (server + 1), heard_at - server
    off = early if early > 0 else late if late < 0 else 0.0
    if abs(off) <= _SKEW_S:
        return Check.ok("clock", f"within {_SKEW_S:g} s of the API's")
    way = "ahead of" if off > 0 else "behind"
    return Check.warning(
        "clock",
        f"{_duration(abs(off))} {way} the API's",
        "set the clock (timedatectl set-ntp true); deadlines of results are corrected for it all the same",
    )


def judge_space(free: int, floor: int) -> Check:
    """Bytes that are free where images land, against those below which nothing is sent."""
    said = f"{free / (1 << 30):.1f} GB free"
    if free < floor:
        return Check.stopping("space", f"{free >> 20} MB free", f"free space: below {floor >> 20} MB nothing is sent")
    if free < _LITTLE_SPACE:
        return Check.warning(
            "space", said, "an image takes about a megabyte, a large PNG ten: free space for a long run"
        )
    return Check.ok("space", said)


def judge_files(limit: int | None, *, concurrency: int, downloads: int) -> Check:
    """How many files may be open, None without a limit, against what so much at a time needs."""
    needed = _FILES_OF_A_REQUEST * (concurrency + downloads) + _OTHER_FILES
    if limit is None or limit >= needed:
        return Check.ok("files", f"{'any number' if limit is None else limit} may be open, {needed} are enough")
    return Check.stopping(
        "files",
        f"{limit} may be open, but {concurrency} requests and {downloads} downloads at a time need {needed}",
        f"ulimit -n {max(1024, needed)}, or a lower --concurrency",
    )


def _duration(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
