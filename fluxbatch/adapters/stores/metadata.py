"""What is kept beside an image in its object, so that a machine without a ledger knows what it has.

Names are single lower-case words, since Azure takes no hyphens and proxies drop underscores; values are ASCII.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote

from fluxbatch.model.job import Stored

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluxbatch.model.job import PlannedJob

__all__ = ["Label", "label_of", "read_label"]

_VERSION: Final = "1"
_LONGEST_ID: Final = 600
"""characters once quoted; all metadata of an object may have 2 KB"""


@dataclass(frozen=True, slots=True)
class Label:
    """What an object's metadata say of its image.

    Attributes:
        stored: the image; its ETag is left to the caller.
        kind: ``live`` or ``simulated``.
        job: the id that it was made for, quoted, and cut off if it is very long; empty if nobody said.
    """

    stored: Stored
    kind: str
    job: str = ""

    def is_of(self, job: PlannedJob) -> bool:
        """Whether it was made for this job, or for one that asked for the same."""
        return self.job == _quoted(job.id) or self.stored.fingerprint == job.fingerprint


def label_of(stored: Stored, kind: str, job: PlannedJob | None) -> dict[str, str]:
    """Metadata of an image that was just verified; ``stored.mtime_ns`` is the moment."""
    said = {
        "fluxbatch": _VERSION,
        "kind": kind,
        "sha256": stored.sha256,
        "bytes": str(stored.bytes),
        "width": str(stored.width),
        "height": str(stored.height),
        "made": str(stored.mtime_ns),
    }
    if job is not None:
        said |= {"job": _quoted(job.id), "fingerprint": job.fingerprint, "model": quote(job.model)}
        seed = job.fields.get("seed")
        if isinstance(seed, int):
            said["seed"] = str(seed)
    return said


def read_label(name: str, metadata: Mapping[str, str]) -> Label | None:
    """What metadata say of the image ``name``; None if they are not ours, or not whole."""
    said = {key.lower(): value for key, value in metadata.items()}
    if said.get("fluxbatch") != _VERSION:
        return None
    try:
        stored = Stored(
            file=name,
            sha256=said["sha256"],
            bytes=int(said["bytes"]),
            width=int(said["width"]),
            height=int(said["height"]),
            mtime_ns=int(said["made"]),
            fingerprint=said.get("fingerprint", ""),
            model=unquote(said.get("model", "")),
            seed=int(said["seed"]) if "seed" in said else None,
        )
    except (KeyError, ValueError):
        return None
    return Label(stored, said.get("kind", ""), said.get("job", ""))


def _quoted(job_id: str) -> str:
    return quote(job_id, safe="")[:_LONGEST_ID]
