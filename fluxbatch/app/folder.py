"""The output folder: where it is, what lies in it, and holding it for a run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fluxbatch.errors import StorageError, UsageError
from fluxbatch.model.address import STORE_SCHEMES, StoreAddress
from fluxbatch.model.spelling import unspeakable
from fluxbatch.telemetry.redact import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["STATE_FOLDER", "Paths", "cut_address", "find_out", "known_state"]

STATE_FOLDER: Final = ".fluxbatch"
_STORE_MARK: Final = "store"
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_CUT_SCHEME: Final = re.compile(rf"({'|'.join(STORE_SCHEMES)}):/[^/]")


@dataclass(frozen=True, slots=True)
class Paths:
    """Where things are, by the stable layout of an output folder.

    Attributes:
        out: images and ``results.jsonl``.
        state: ledger, lock and events; ``OUT/.fluxbatch`` unless told otherwise.
        store: where images go, if that is an object store; what else there is, ``out`` included, is in ``state`` then.
    """

    out: Path
    state: Path
    store: StoreAddress | None = None

    @classmethod
    def of(cls, out: Path, state: Path | None = None) -> Paths:
        """The paths of an output folder.

        Raises:
            UsageError: one of them can't be written down.
        """
        out = out.absolute()
        for path in (out, out if state is None else state.absolute()):
            if odd := unspeakable(path):
                raise UsageError(
                    f"the name of the folder {odd} is no UTF-8", remedy="rename it, or name another one (-o, --state)"
                )
        if state is None and (address := _known_store(out)) is not None:
            return cls(out, out, address)
        return cls(out, (state or out / STATE_FOLDER).absolute())

    @classmethod
    def asked(
        cls,
        out: str | Path | None,
        state: Path | None,
        outs: Sequence[tuple[str, Path | None, Path]],
        *,
        simulate: bool,
    ) -> Paths:
        """The paths that a request means; arguments as for ``find_out``.

        Raises:
            UsageError: they are not to be used.
        """
        if out is None or not _SCHEME.match(str(out)):
            paths = cls.of(find_out(out, outs, simulate=simulate), state)
            if paths.store is not None:
                raise UsageError(
                    f"{paths.out} is the state folder of {paths.store}",
                    remedy=f"give -o {paths.store} --state {paths.out}, or use another output folder",
                )
            return paths
        try:
            address = StoreAddress.parse(str(out))
        except ValueError as error:
            raise UsageError(f"-o {clean(str(out))}: {error}", remedy="name a folder, or s3://bucket/prefix") from None
        if state is None:
            raise UsageError(
                f"-o {address}: an object store can't hold the ledger", remedy="name a local folder for it: --state DIR"
            )
        return cls(state.absolute(), state.absolute(), address)

    @property
    def place(self) -> Path | str:
        """Where images go, for people."""
        return self.out if self.store is None else self.store.url

    @property
    def hidden(self) -> Path:
        """Holds what is ours and goes with the images' folder."""
        return self.out / STATE_FOLDER if self.store is None else self.state

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
        return self.hidden / "lock"

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
        return self.state / "thumbs"

    @property
    def landing(self) -> Path:
        """Half-landed images, on the same filesystem as the output."""
        return self.hidden / "landing"

    @property
    def spool(self) -> Path:
        """Verified images on their way to an object store."""
        return self.state / "spool"

    @property
    def objects(self) -> Path:
        """Photos from object stores while they are needed; may be deleted at any time."""
        return self.state / "objects"

    @property
    def owner(self) -> Path:
        """Names this state folder in the mark that its runs leave in an object store."""
        return self.state / "owner"

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
            spools = [] if self.store is None else [self.spool]
            for folder in (self.out, self.state, self.landing, *spools):
                folder.mkdir(parents=True, exist_ok=True)
            self._mark()
            ignore = self.hidden / ".gitignore"
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
        known_store = _known_store(self.state)
        if self.has_ledger() and known_store != self.store and (known_store or self.store):
            raise UsageError(
                f"the ledger in {self.state} is of {known_store or 'a local folder'}",
                remedy=f"give -o {known_store}, or another --state" if known_store else "name another --state",
            )
        if self.store is not None:
            (self.state / _STORE_MARK).write_text(f"{self.store}\n", encoding="utf-8")
            return
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


def cut_address(path: Path) -> str | None:
    """The address of an object store that was taken for a path, which makes ``s3:/bucket`` of it; None for a path."""
    return str(path).replace(":/", "://", 1) if _CUT_SCHEME.match(str(path)) else None


def _known_store(state: Path) -> StoreAddress | None:
    """The object store that a ledger is of, if it is of one."""
    try:
        return StoreAddress.parse((state / _STORE_MARK).read_text(encoding="utf-8").strip())
    except (OSError, ValueError):
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
        if isinstance(asked, Path) and _CUT_SCHEME.match(str(asked)):
            raise UsageError(f"-o {asked} is an address in the form of a path", remedy="give it as text")
        return Path(asked)
    folders = {(out or default).absolute() for _, out, default in outs}
    if len(folders) != 1:
        names = ", ".join(str(folder) for folder in sorted(folders))
        raise UsageError(f"these sources have different output folders: {names}", remedy="name one with -o")
    folder = folders.pop()
    return folder.with_name(f"{folder.name}-simulated") if simulate else folder
