"""What stands in for a manifest's own words, for images that were rejected. Pure: what is decided is written elsewhere.

A job goes by its latest round as long as the manifest says of it what it said then. It gets a round more if the image
that is rejected is the one that is asked for now: one that was edited since, or whose round is still to be made, is
going to be made anyway.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from fluxbatch.planning.remakes import Remake, Remakes, round_seed
from fluxbatch.planning.reviews import moment_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Overlay", "Rejected"]


@dataclass(frozen=True, slots=True)
class Rejected:
    """The present image of a job, which somebody rejected.

    Attributes:
        sha256: of the image.
        fingerprint: that it was made for.
        prompt: that its job had in the last plan, None if that isn't known.
        wish: prompt for the next image, empty if nobody asked for another one.
    """

    sha256: str
    fingerprint: str
    prompt: str | None = None
    wish: str = ""


@dataclass(slots=True)
class Overlay:
    """The overlay of one source.

    Attributes:
        remakes: what was decided before.
        rejected: by id, what is to be made again; nothing, if that isn't asked for.
        max_rounds: how often a job may be made again.
        by: who decides now.
        now_s: when, epoch seconds.
        file: where it is kept, for messages.
        asks_for: tells which of some ids there are.
        standing: by id, what stands in for the manifest, as far as jobs were looked at.
        decided: by id, what is new of that, to be put on record before anything is sent.
    """

    remakes: Remakes = field(default_factory=Remakes)
    rejected: Mapping[str, Rejected] = field(default_factory=dict)
    max_rounds: int = 0
    by: str = ""
    now_s: float = 0.0
    file: str = ""
    asks_for: Callable[[Sequence[str]], set[str]] = set
    standing: dict[str, Remake] = field(default_factory=dict)
    decided: dict[str, Remake] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """Whether all goes by the manifest."""
        return not self.remakes.decided and not self.rejected

    def former(self, job_id: str, base: str) -> str:
        """The id of a job that was made again and is gone, if this one is written just like it; else empty."""
        if job_id in self.standing:
            return ""
        names = [name for name in self.remakes.namesakes(base) if name != job_id]
        asked = self.asks_for(names) if names else set()
        return next((name for name in names if name not in asked), "")

    def settle(
        self,
        job_id: str,
        fields: dict[str, Any],
        base: str,
        seed: int,
        asked: Callable[[Mapping[str, Any]], str],
    ) -> tuple[dict[str, Any], int]:
        """The fields that a job is made with, and the round after which it stays rejected; 0 if it doesn't.

        Args:
            job_id: of the job.
            fields: as the manifest has them.
            base: digest of the job as the manifest has it.
            seed: that the manifest gives it.
            asked: the fingerprint that fields give.
        """
        before = self.remakes.standing(job_id, base)
        now = _with(fields, before)
        if before is not None:
            self.standing[job_id] = before
        rejected = self.rejected.get(job_id)
        if rejected is None:
            return now, 0
        is_asked_for = rejected.fingerprint == asked(now)
        prompt = rejected.wish if is_asked_for or rejected.prompt == now.get("prompt") else ""
        is_wished_for = bool(prompt) and prompt != now.get("prompt")
        if not is_asked_for and not is_wished_for:
            return now, 0
        number = 1 if before is None else before.round + 1
        if number > self.max_rounds:
            return now, number - 1
        at = moment_text(self.now_s, "" if before is None else before.at)
        new = Remake(job_id, number, None, None, rejected.sha256, base, self.by, at)
        if is_wished_for:  # and else as it was, so that what was asked for is all that changes
            new = replace(new, prompt=prompt, seed=None if before is None else before.seed)
        else:
            new = replace(new, seed=round_seed(seed, number), prompt=None if before is None else before.prompt)
        self.standing[job_id] = self.decided[job_id] = new
        return _with(fields, new), 0


def _with(fields: dict[str, Any], remake: Remake | None) -> dict[str, Any]:
    if remake is None:
        return fields
    said = {"seed": remake.seed, "prompt": remake.prompt}
    return {**fields, **{name: value for name, value in said.items() if value is not None}}
