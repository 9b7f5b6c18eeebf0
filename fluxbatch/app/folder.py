"""The output folder: where it is, what lies in it, and holding it for a run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fluxbatch.errors import StorageError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["STATE_FOLDER", "Paths", "find_out", "known_state"]

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

    def has_ledger(self) -> bool:
        """Whether there is one.

        Raises:
            StorageError: the folder can't be looked into.
        """
        try:
            self.ledger.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise StorageError(f"{self.ledger}: {error.strerror}", remedy="mend the folder's permissions") from error
        return True

    @property
    def lock(self) -> Path:
        """Held by a run; in the output folder, wherever the ledger is."""
        return self.out / STATE_FOLDER / "lock"

    @property
    def locks(self) -> list[Path]:
        """All that a run takes: a ledger elsewhere has one as well, since another output folder could name it."""
        return list(dict.fromkeys([self.lock, self.state / "lock"]))

    @property
    def marker(self) -> Path:
        """Says where the ledger of this output folder is, if that is elsewhere."""
        return self.out / STATE_FOLDER / "state"

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
    def fitted(self) -> Path:
        """Photos made fit for the API; may be deleted at any time."""
        return self.state / "fitted"

    @property
    def thumbnails(self) -> Path:
        """Of pages that are served; may be deleted at any time."""
        return self.state / "thumbnails"

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
            self._mark()
            ignore = self.out / STATE_FOLDER / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n", encoding="utf-8")
        except NotADirectoryError as error:
            raise UsageError(f"{error.filename} is no folder", remedy="name another one with -o") from error
        except FileExistsError as error:
            raise UsageError(f"{error.filename} is a file", remedy="name a folder with -o") from error
        except OSError as error:
            path = error.filename or self.out
            raise StorageError(
                f"{path}: {error.strerror or error}", remedy="mend the folder, or use another one (-o)"
            ) from error

    def _mark(self) -> None:
        """Hold the folder to one ledger: with another one, everything in it would be bought again."""
        known = known_state(self.out) or (self.out / STATE_FOLDER if self._has_own_ledger() else None)
        if known is not None and known != self.state and (known / self.ledger.name).exists():
            raise UsageError(
                f"the ledger of {self.out} is in {known}",
                remedy=f"give --state {known}, or use another output folder (-o)",
            )
        if self.state == self.out / STATE_FOLDER:
            self.marker.unlink(missing_ok=True)
        else:
            self.marker.write_text(f"{self.state}\n", encoding="utf-8")

    def _has_own_ledger(self) -> bool:
        return (self.out / STATE_FOLDER / self.ledger.name).exists()


def known_state(out: Path) -> Path | None:
    """Where the ledger of an output folder is, if it was put elsewhere."""
    try:
        return Path((out / STATE_FOLDER / "state").read_text(encoding="utf-8").strip())
    except OSError:
        return None


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
        if not str(asked).strip():
            raise UsageError("-o is empty", remedy="name a folder")
        if _SCHEME.match(str(asked)):
            raise UsageError(f"-o {asked}: images land in local folders only", remedy="name a folder")
        return Path(asked)
    folders = {(out or default).absolute() for _, out, default in outs}
    if len(folders) != 1:
        names = ", ".join(str(folder) for folder in sorted(folders))
        raise UsageError(f"these sources have different output folders: {names}", remedy="name one with -o")
    folder = folders.pop()
    return folder.with_name(f"{folder.name}-simulated") if simulate else folder
