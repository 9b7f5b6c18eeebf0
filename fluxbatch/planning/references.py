"""What stands for a reference image: a path, a URL, or another job."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any, TypeAlias

from fluxbatch.planning.flaw import Flaw, shown

__all__ = ["Reference", "read_reference"]

Reference: TypeAlias = str | dict[str, str]
"""A path, a URL, or ``{"job": id}``."""


def read_reference(name: str, entry: Any) -> Reference | Flaw:
    """A reference as it is kept, or what is wrong with it; ``name`` is that of its field, as ``images[2]``."""
    if isinstance(entry, PurePath):
        return str(entry)
    if isinstance(entry, dict):
        return _output(name, entry)
    if not isinstance(entry, str):
        return Flaw(name, f"{shown(entry)} is not a path or URL", "write a file name or a URL")
    if not entry.strip():
        return Flaw(name, "is empty", "write a file name or a URL")
    return entry.strip()


def _output(name: str, entry: dict[Any, Any]) -> Reference | Flaw:
    if "optional" in entry:
        return Flaw(name, "'optional' is for catalogues", "leave the image out instead")
    if set(entry) != {"job"}:
        return Flaw(name, "is a mapping, but not {job: id}", "write {job: other-id}")
    job = entry["job"]
    if isinstance(job, bool) or not isinstance(job, str | int) or not str(job).strip():
        return Flaw(name, f"{shown(job)} is not the id of a job", "write {job: other-id}")
    return {"job": getattr(job, "written", None) or str(job).strip()}
