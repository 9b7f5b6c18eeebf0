"""``remakes.jsonl``: what is asked of rejected images beyond the manifest: another seed, another prompt.

An overlay of the manifest, and carried with it. Lines of round 0 are wishes of people: a prompt for the next round.
Lines from round 1 on are decided by runs, and from then on stand in for what the manifest says of that job, as long as
it says the same: a job that is edited there goes by the manifest again. Lines merge as those of ``reviews.jsonl`` do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import orjson
from blake3 import blake3

from fluxbatch.planning.flaw import shown
from fluxbatch.planning.reviews import BadLine, facts_of, read_moment

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

__all__ = ["REMAKES_NAME", "Remake", "Remakes", "remake_line", "remake_of", "round_seed"]

REMAKES_NAME: Final = "remakes.jsonl"

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_MOST_SEED: Final = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class Remake:
    """What is asked of a job beyond its manifest.

    Attributes:
        id: of the job.
        round: 0 for a wish; else how often it is made again, this time included.
        seed: None for the one that the manifest gives it.
        prompt: None for the manifest's; of a wish, None takes it back.
        sha256: of the image that was rejected.
        base: digest of the job as the manifest had it, empty of a wish.
        by: who asked for it, or ran it.
        at: when, ISO 8601 with its offset.
    """

    id: str
    round: int
    seed: int | None
    prompt: str | None
    sha256: str
    base: str
    by: str
    at: str


def round_seed(seed: int, number: int) -> int:
    """The seed of a round, 0 to 2³¹-1: always the same for the same first seed."""
    return int.from_bytes(blake3(f"{seed} round {number}".encode()).digest(4), "big") & 0x7FFF_FFFF


def remake_line(remake: Remake) -> bytes:
    """A line of the file, without its end."""
    return orjson.dumps(remake)


def remake_of(line: bytes) -> Remake:
    """The remake that a line holds; keys that this version doesn't know are left alone.

    Raises:
        BadLine: it holds none.
    """
    facts = facts_of(line)
    job_id, number, seed, prompt = (facts.get(name) for name in ("id", "round", "seed", "prompt"))
    sha256, base, by, at = (facts.get(name) for name in ("sha256", "base", "by", "at"))
    if not isinstance(job_id, str) or not job_id:
        raise BadLine("'id' names no job")
    if type(number) is not int or number < 0:
        raise BadLine(f"'round' is {shown(number)}", "write a whole number from 0 on")
    if seed is not None and (type(seed) is not int or not 0 <= seed <= _MOST_SEED):
        raise BadLine(f"'seed' is {shown(seed)}", f"write a whole number, 0 to {_MOST_SEED}, or null")
    if prompt is not None and not isinstance(prompt, str):
        raise BadLine("'prompt' is no text")
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise BadLine(f"'sha256' is {shown(sha256)}, not the 64 hex digits of an image")
    if not all(isinstance(text or "", str) for text in (base, by)):
        raise BadLine("'base' or 'by' is no text")
    read_moment(at)
    return Remake(job_id, number, seed, prompt, sha256, base or "", by or "", str(at))


class Remakes:
    """All that is asked. Adding the same again, or in another order, makes no difference."""

    def __init__(self, remakes: Iterable[Remake] = ()) -> None:
        # the latest line, with what it is compared by: of decisions by job and base, of wishes by job and image
        self._decided: dict[tuple[str, str], tuple[tuple[datetime, bytes], Remake]] = {}
        self._wishes: dict[tuple[str, str], tuple[tuple[datetime, bytes], Remake]] = {}
        self._by_base: dict[str, dict[str, None]] = {}
        self._rounds: dict[str, dict[tuple[str, int], Remake]] = {}
        for remake in remakes:
            self.add(remake)

    def add(self, remake: Remake) -> None:
        """Take in a line."""
        rank = (read_moment(remake.at), remake_line(remake))
        if remake.round:
            known, key = self._decided, (remake.id, remake.base)
            self._by_base.setdefault(remake.base, {})[remake.id] = None
            self._rounds.setdefault(remake.id, {})[remake.at, remake.round] = remake
        else:
            known, key = self._wishes, (remake.id, remake.sha256)
        if key not in known or rank > known[key][0]:
            known[key] = rank, remake

    @property
    def decided(self) -> bool:
        """Whether anything stands in for what a manifest says."""
        return bool(self._decided)

    def standing(self, job_id: str, base: str) -> Remake | None:
        """What stands in for the job that a manifest has like this."""
        found = self._decided.get((job_id, base))
        return None if found is None else found[1]

    def namesakes(self, base: str) -> list[str]:
        """The ids for which something stands in for a job that is written like this."""
        return list(self._by_base.get(base, ()))

    def rounds(self, job_id: str) -> list[Remake]:
        """All that was decided for a job, the first round first; each names the image that gave way."""
        decided = self._rounds.get(job_id, {})
        return [decided[key] for key in sorted(decided, key=lambda key: (read_moment(key[0]), key[1]))]

    def wish(self, job_id: str, sha256: str) -> Remake | None:
        """The prompt that people want for the next image of a job, in place of this one."""
        found = self._wishes.get((job_id, sha256))
        return None if found is None or found[1].prompt is None else found[1]
