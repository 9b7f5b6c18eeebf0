"""What readers give: drafts of jobs, with the lines that they stand on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from fluxbatch.planning.flaw import Unreadable

__all__ = ["Draft", "Fault", "Opened"]


@dataclass(slots=True)
class Draft:
    """One job as its source has it.

    Attributes:
        line: 1-based, where it begins.
        values: keys and values as written, defaults merged in.
        lines: of keys and list entries (``prompt``, ``images[2]``) that stand elsewhere than on ``line``.
        row: of a table: unknown keys are columns of the user's own.
        photo: that the job is about, in a set of photos.
        file: that the lines are of, if it is not the manifest.
    """

    line: int
    values: Mapping[str, Any]
    lines: Mapping[str, int] = field(default_factory=dict)
    row: bool = False
    photo: str = ""
    file: str = ""


@dataclass(frozen=True, slots=True)
class Fault:
    """A complaint about a manifest as a whole."""

    line: int
    message: str
    remedy: str = ""
    field: str = ""
    warning: bool = False


@dataclass(slots=True)
class Opened:
    """A source that is being read.

    Attributes:
        label: the source as the user named it.
        base: the folder that its paths are relative to.
        drafts: its jobs in order; an ``Unreadable`` among them is a row that can't be used. Iterating may raise
            ``Unreadable`` when nothing more can be read.
        faults: complaints about the source as a whole; complete once ``drafts`` is exhausted.
        out: the ``out:`` of a document, as written.
        filename: the template of file names, as written, and its line.
        lock: a lock file is kept beside the manifest.
        tables: of its catalogues, by their labels: encoding and sheet, empty where the manifest names none.
        presign: photos in object stores are sent as URLs that die.
    """

    label: str
    base: Path
    drafts: Iterable[Draft | Unreadable]
    faults: list[Fault] = field(default_factory=list)
    out: str | None = None
    filename: tuple[str, int] | None = None
    lock: bool = False
    tables: dict[str, tuple[str, str]] = field(default_factory=dict)
    presign: bool = False
