"""The output folder: where it is, what lies in it, and holding it for a run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fluxbatch.errors import StorageError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["STATE_FOLDER", "Paths", "find_out"]

STATE_FOLDER: Final = ".fluxbatch"
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Paths:
    """Where things are, by the stable layout of an output folder.

    Attributes:
        out: images and ``results.jsonl``.
        state: ledger, lock and events; ``OUT/.fluxbatch`` unless told otherwise.
    """

    out: Path
    state: Path

    @classmethod
    def of(cls, out: Path, state: Path | None = None) -> Paths:
        """The paths of an output folder."""
        out = out.absolute()
        return cls(out, (state or out / STATE_FOLDER).absolute())

    @property
    def ledger(self) -> Path:
        """The durable truth."""
        return self.state / "ledger.sqlite"

    @property
    def lock(self) -> Path:
        """Held by a run."""
        return self.state / "lock"

    @property
    def memo(self) -> Path:
        """May be deleted at any time."""
        return self.state / "memo.sqlite"

    @property
    def events(self) -> Path:
        """Append-only."""
        return self.state / "events.jsonl"

    @property
    def simulator(self) -> Path:
        """What the embedded simulator keeps between runs."""
        return self.state / "simulator"

    @property
    def landing(self) -> Path:
        """Half-landed images, on the same filesystem as the output."""
        return self.out / STATE_FOLDER / "landing"

    @property
    def results(self) -> Path:
        """A line a job."""
        return self.out / "results.jsonl"

    def make(self) -> None:
        """Make the folders.

        Raises:
            StorageError: they can't be made or written.
        """
        try:
            for folder in (self.out, self.state, self.landing):
                folder.mkdir(parents=True, exist_ok=True)
            ignore = self.out / STATE_FOLDER / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n", encoding="utf-8")
        except OSError as error:
            path = error.filename or self.out
            raise StorageError(
                f"{path}: {error.strerror or error}", remedy="mend the folder, or use another one (-o)"
            ) from error


def find_out(asked: str | Path | None, outs: Sequence[tuple[str, Path | None, Path]], *, simulate: bool) -> Path:
    """The output folder of a run.

    Args:
        asked: ``-o``, relative to the working folder.
        outs: for each source its name, its ``out:`` and its folder by default.
        simulate: images of the simulator get a folder of their own.

    Raises:
        UsageError: it is no local folder, or the sources don't agree on one.
    """
    if asked is not None:
        if _SCHEME.match(str(asked)):
            raise UsageError(f"-o {asked}: images land in local folders only", remedy="name a folder")
        return Path(asked)
    folders = {(out or default).absolute() for _, out, default in outs}
    if len(folders) != 1:
        names = ", ".join(str(folder) for folder in sorted(folders))
        raise UsageError(f"these sources have different output folders: {names}", remedy="name one with -o")
    folder = folders.pop()
    return folder.with_name(f"{folder.name}-simulated") if simulate else folder
