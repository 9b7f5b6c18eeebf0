"""The doors between the engine and the world. Each contract stands here; ``fluxbatch.testing.conformance`` checks it.

Whoever writes an adapter reads this file and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from fluxbatch.model.answer import Scope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from fluxbatch.formats import ImageFacts
    from fluxbatch.model.answer import Answer
    from fluxbatch.model.events import Event
    from fluxbatch.model.job import Lease, ObjectPhoto, Photo, PlannedJob, Record, RemoteImage, Step, Stored
    from fluxbatch.model.limits import LimitCause

__all__ = [
    "Clock",
    "Decoder",
    "Delivered",
    "Destination",
    "Disposition",
    "Enlisted",
    "Fetcher",
    "Fitter",
    "Landing",
    "Ledger",
    "Limiter",
    "Memo",
    "ObjectIndex",
    "ObjectSource",
    "Observer",
    "Outcome",
    "PhotoReader",
    "Place",
    "Presence",
    "Provider",
    "Rescue",
    "RunRow",
    "Sink",
    "Source",
    "Tally",
]


class Clock(Protocol):
    """Time. The only way to it, so that tests can turn it."""

    def now(self) -> float:
        """Epoch seconds by the wall clock: for deadlines that outlive the process."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back: for durations, pauses and backoff."""
        ...


class Observer(Protocol):
    """Hears of everything that happens in a run. Must be quick, must not raise."""

    def note(self, event: Event) -> None:
        """Take one event."""
        ...


class Provider(Protocol):
    """An image API."""

    async def generate(self, job: PlannedJob) -> Answer:
        """Send one request and wait for its answer.

        Every outcome of the API or the network is an ``Answer``; nothing is retried here. Cancelling after the last
        byte of the body was sent throws a paid image away, so callers do it only when the user insists.

        Raises:
            PhotoError: a photo can't be read or is not the file that was checked (``PhotoChanged``); the request
                was not completed, so nothing was billed.
            StorageError: an image in the answer could not be kept.
        """
        ...


class PhotoReader(Protocol):
    """An open photo. Holds one file descriptor, no bytes."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill ``buffer`` with the next bytes; 0 at the end. Brief, may block on the local disk.

        Raises:
            PhotoChanged: the file is shorter than it was when checked.
        """
        ...

    def verify(self) -> None:
        """Ask once more whether the open file is still the one that was checked.

        Raises:
            PhotoChanged: it is not.
        """
        ...

    def close(self) -> None:
        """Release the file. May be called again."""
        ...


class Source(Protocol):
    """Where local photos come from."""

    def open(self, photo: Photo) -> PhotoReader:
        """Open a photo for sending. Brief.

        Raises:
            PhotoChanged: it is gone, or size, time or inode differ from ``photo``.
            PhotoError: it can't be read.
        """
        ...


class ObjectIndex(Protocol):
    """Knows which photos there are in object stores."""

    def look(self, refs: Sequence[str]) -> Mapping[str, ObjectPhoto | None]:
        """The objects at these addresses, None where there is none. One question each; blocks.

        Raises:
            UsageError: there is nothing to ask with.
            StorageError: a store can't be asked.
        """
        ...


class ObjectSource(Protocol):
    """Where photos come from that are in object stores."""

    async def fetch(self, image: ObjectPhoto, most_pixels: int | None = None) -> Photo | RemoteImage:
        """The object as a local file, or as a URL that dies if it is to be presigned; in use until it is released.

        A file was judged by its bytes as local photos are; ``most_pixels``: it is to be made smaller than that besides.

        Raises:
            PhotoChanged: it is gone, or has another ETag or size than when it was checked.
            PhotoError: it is no image that can be used; the message names its address.
            StorageError: the store can't be read, or there is no room for it here.
        """
        ...

    def release(self, photo: Photo) -> None:
        """A file is not in use any more, by one of those who got it. One that came from elsewhere is none of ours."""
        ...


class Decoder(Protocol):
    """Looks into image files of kinds that the API doesn't take, but that can be made into ones that it does."""

    def measure(self, path: str) -> ImageFacts:
        """The facts of a whole image file of any kind that can be decoded. Blocks; decodes no pixels.

        Raises:
            NotAnImage: it can't be decoded; the message says what is missing for it, if anything is.
            OSError: it can't be read.
        """
        ...


class Fitter(Protocol):
    """Makes photos fit for the API."""

    async def fit(self, photo: Photo) -> Photo:
        """The photo as it is to be sent: another file on the local disk, done as ``photo.fitting`` says.

        Itself if nothing is to be done. The same bytes with the same fitting are worked on once, by whoever asks, and
        give the same bytes. Only a few photos are decoded at a time.

        Raises:
            PhotoChanged: it is not the file that was checked.
            PhotoError: it can't be read or decoded.
            StorageError: there is no room for the result.
        """
        ...


class Landing(Protocol):
    """One image on its way to the sink: a temporary file that becomes the output all at once, or never.

    It survives broken transfers: ``size`` bytes are there, and a transfer may go on from there or ``restart``.
    """

    @property
    def size(self) -> int:
        """Bytes so far."""
        ...

    etag: str
    """of the bytes so far, empty if the host gave none; a transfer may be resumed only against the same one"""
    md5: str
    """base64 of the whole image's MD5 as the host gave it, empty if it gave none; ``commit`` holds the bytes to it"""

    def write(self, piece: bytes) -> None:
        """Append. Brief.

        Raises:
            StorageError: the disk is full or gone.
        """
        ...

    def restart(self) -> None:
        """Throw away what came so far."""
        ...

    async def commit(self, filename: str, job: PlannedJob | None = None) -> Stored:
        """Verify by the bytes, make durable, and put in place of ``filename`` + extension, replacing what is there.

        The extension is by the bytes. ``Stored.fingerprint`` and ``url_age_s`` are left for the caller to fill in.
        ``job`` is what it was made for; a sink may keep that beside it (``Sink.known``).

        Order: length and format → fsync → rename → fsync of the folder. On return, the image survives a power cut.

        Raises:
            DeliveryError: the bytes are no complete image (``corrupt``); ``restart`` and fetch again.
            TargetBlocked: something else stands where this output belongs; in a place that others write to, that may be
                an output which was not there when the sink looked.
            StorageError: the disk is full or gone; the landing is intact and may be committed again, unless ``size`` is
                0: then its bytes are gone with their folder, and are to be fetched again.
        """
        ...

    async def discard(self) -> None:
        """Give up and leave nothing behind. May be called again, also after ``commit``.

        An image that was verified and could not be put in place may be kept, for ``Sink.landed`` to find.
        """
        ...


class Presence(StrEnum):
    """What became of an output since it was stored."""

    SAME = "same"
    MISSING = "missing"
    ALTERED = "altered"


class Sink(Protocol):
    """Where images land."""

    async def land(self) -> Landing:
        """Begin a landing.

        Raises:
            StorageError: the folder is gone, read-only or full.
        """
        ...

    async def adopt(self, path: Path) -> Landing:
        """Begin a landing with the bytes of a local file, which is consumed."""
        ...

    async def check(self, stored: Sequence[Stored]) -> list[Presence]:
        """For each: is the output still what was stored? Reads a file only if its size fits and its time doesn't.

        Raises:
            StorageError: it can't be told; missing is only what is surely not there.
        """
        ...

    async def taken(self, filenames: Sequence[str]) -> dict[str, str]:
        """What stands in the way of new outputs under these names (without extension), by name.

        An output that is there already, whoever made it, or something that is no folder where one of theirs belongs.
        """
        ...

    async def known(self, jobs: Sequence[PlannedJob]) -> dict[str, Stored]:
        """Outputs of these jobs that the sink itself knows of, with the fingerprints that they were made for, by id.

        Of what ``Landing.commit`` was told, if the sink keeps that beside the images: so can a machine without a ledger
        tell what is there. A folder keeps nothing.

        Raises:
            UsageError: they are of the other kind, simulated or not.
            StorageError: it can't be told.
        """
        ...

    async def landed(self, filename: str, since: float, job: PlannedJob | None = None) -> Stored | None:
        """The whole image that was put under this name (without extension) since then (epoch seconds), if there is one.

        How an image is found whose landing was not recorded any more. ``Stored.fingerprint`` is left to the caller.
        ``job`` is what it was made for, if that is known.
        """
        ...

    async def photo(self, stored: Stored) -> Photo:
        """An output as a reference image, as it is now: an edited one counts as it was edited.

        Raises:
            PhotoChanged: it is gone.
            PhotoError: it is no whole image, or can't be read.
        """
        ...

    async def copy(self, stored: Stored, filename: str, job: PlannedJob | None = None) -> Stored:
        """Put a copy of an output under another name (without extension), as ``Landing.commit`` puts new ones.

        Raises:
            PhotoChanged: it is not what was stored, or gone.
            TargetBlocked, StorageError: as ``Landing.commit``.
        """
        ...

    async def remove(self, stored: Stored) -> bool:
        """Remove an output and folders that are empty then; False if it is not what was stored, and so was kept.

        Raises:
            StorageError: it can't be removed.
        """
        ...

    async def room(self) -> int:
        """Free bytes for new images."""
        ...


class Delivered(StrEnum):
    """What became of an image that was to be delivered."""

    COPIED = "copied"
    THERE = "there"
    """it was there already, byte for byte"""
    IN_THE_WAY = "in the way"
    """something else has its name, and was left alone"""
    MISSING = "missing"
    """it is not in the output folder any more"""
    CHANGED = "changed"
    """what is in the output folder is not what was stored; nothing of it was delivered"""


class Destination(Protocol):
    """Where finished images are delivered, by their names in the output folder. Blocks; used by several threads."""

    def deliver(self, source: Path, stored: Stored, *, replace: bool) -> Delivered:
        """Put a copy of an image under its own name, all at once and durably, if it is what was stored.

        May be called again. ``replace``: take the place of another file.

        Raises:
            StorageError: it can't be written, or ``source`` can't be read.
        """
        ...

    def finish(self) -> None:
        """Release what is held; nothing half is left."""
        ...


class Fetcher(Protocol):
    """Brings results from delivery hosts."""

    async def fetch(self, lease: Lease, landing: Landing) -> None:
        """Transfer the result into the landing, going on where an earlier try broke off if the host allows it.

        The URL is sent byte for byte; no credentials go along. May be called again with the same landing.

        Raises:
            DeliveryError: this try failed; ``refused`` if the host says that there is nothing (or nothing any more).
            StorageError: from the landing.
        """
        ...


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run, as the ledger remembers it.

    Attributes:
        started_at, ended_at: epoch seconds; ``ended_at`` and ``summary`` are None while it lives, or if it was killed.
        carried_usd: USD that the unfinished runs which it goes on with had spent.
        spent_usd: USD billed or maybe billed by the steps of this run, counted with each of them.
    """

    id: str
    started_at: float
    ended_at: float | None = None
    summary: Mapping[str, object] | None = None
    carried_usd: float = 0.0
    spent_usd: float = 0.0


class Disposition(StrEnum):
    """What a plan makes of a job's row."""

    MAKE = "make"
    """to be sent: PENDING; the counters are those of (id, fingerprint), from before if it was asked for before"""
    KEEP = "keep"
    """as it stands"""
    RESTORE = "restore"
    """the image on disk is what is asked for: STORED, whatever happened since"""
    FETCH = "fetch"
    """a failed delivery left a URL that is to be tried again: GENERATED"""
    REFUSE = "refuse"
    """it can't be sent (``job.defect``): FAILED; what is on disk stays on record"""


@dataclass(frozen=True, slots=True)
class Enlisted:
    """A job of a run's plan.

    Attributes:
        job: as planned now.
        disposition: what becomes of its row.
        selected: this run may send it; False for what ``--only`` and its like leave out.
        pardon: the user allows one more possibly-charged attempt, whatever there were before.
        waits: for jobs that it needs (``job.needs``) and that are not all stored yet.
        stored: with RESTORE, an image that is put on record for it: it was there already, or is a copy of another's.
    """

    job: PlannedJob
    disposition: Disposition
    selected: bool = True
    pardon: bool = False
    waits: bool = False
    stored: Stored | None = None


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts over jobs.

    Attributes:
        by_state: jobs.
        failures: FAILED jobs by error code.
        charged, unknown, lost: attempts, over the life of these jobs, whatever they asked for at the time.
        cost_usd, unknown_usd: USD, likewise.
    """

    by_state: Mapping[str, int]
    failures: Mapping[str, int]
    charged: int
    unknown: int
    lost: int
    cost_usd: float
    unknown_usd: float

    @property
    def total(self) -> int:
        """All jobs."""
        return sum(self.by_state.values())


class Ledger(Protocol):
    """The durable truth, and the queue. A method returns once what it wrote survives a power cut.

    Rows never sit in memory all at once: callers page. Safe to call from many tasks; calls share commits.
    A job's id is unique in the ledger. Only jobs stamped with a run and selected for it are handed out by ``pending``;
    leases are handed out whatever plan they come from.
    """

    async def begin(self, run: RunRow) -> None:
        """Open a run, with what it carries over."""
        ...

    async def end(self, run_id: str, ended_at: float, summary: Mapping[str, object]) -> None:
        """Close a run with its account."""
        ...

    async def last_run(self) -> RunRow | None:
        """The newest run, if there was one."""
        ...

    async def runs(self, since: float) -> list[RunRow]:
        """The runs that may have gone on after a moment (epoch seconds), the oldest first.

        One that never ended was over when the next one began.
        """
        ...

    async def recall(self, job_ids: Sequence[str]) -> dict[str, Record]:
        """The rows of these jobs, as far as there are any."""
        ...

    async def enlist(self, run_id: str, jobs: Sequence[Enlisted]) -> None:
        """Write jobs of this run's plan, all or none, and stamp them with the run.

        A row that is SUBMITTED or GENERATED keeps job and state as they were when it was sent, and is only stamped.
        Elsewhere the row takes the job as planned now, and the state that the disposition says.
        """
        ...

    async def pending(self, run_id: str, model: str, after: int, limit: int) -> list[Record]:
        """Jobs of this run to be sent to ``model`` (PENDING, stamped, selected), by position, after ``after``.

        Without those that were enlisted as waiting.
        """
        ...

    async def freed(self, run_id: str, model: str, limit: int) -> list[Record]:
        """Jobs that were enlisted as waiting, and need not wait any more: all that they need is STORED; by position.

        Each is handed out once in a run.
        """
        ...

    async def stranded(self, run_id: str, after: int, limit: int) -> list[Record]:
        """Jobs of this run (PENDING, stamped, selected) that need one which FAILED, by position, after ``after``."""
        ...

    async def pending_models(self, run_id: str) -> dict[str, int]:
        """How many jobs of this run are to be sent, waiting ones included, by model."""
        ...

    async def waiting(self, run_id: str) -> int:
        """How many jobs of this run (PENDING, stamped, selected) wait for others."""
        ...

    async def ids(self, after: str = "", limit: int = 1000) -> list[str]:
        """The ids of all rows, of any plan, by id, after ``after``."""
        ...

    async def owners(self, files: Sequence[str]) -> dict[str, list[str]]:
        """The ids of the rows that have these files as their image on record, of any plan, by file."""
        ...

    async def forget(self, job_ids: Sequence[str]) -> None:
        """Remove rows that are neither SUBMITTED nor GENERATED.

        What (id, fingerprint) has cost stays counted for it, should it come back.
        """
        ...

    async def in_state(self, state: str, after: str = "", limit: int = 1000) -> list[Record]:
        """Rows in a state, of any plan, by id: how leases owed and submitted requests are found at start-up."""
        ...

    async def advance(self, step: Step) -> None:
        """Compare-and-set one transition, and add its charge to the job and to the run.

        It is seen through: whoever is cancelled meanwhile is so at the next await after it.

        Raises:
            StepRefused: the job is not in ``step.frm``, or ``NEXT`` does not allow ``step.to``; nothing was changed.
            StorageError: it can't be written; nothing was changed.
        """
        ...

    async def claim(self, manifest: str, run_id: str) -> None:
        """Remember a manifest that claims ids in this folder, and that its last plan is this run's.

        The manifest that came first comes first in the results.
        """
        ...

    async def release(self, manifest: str) -> None:
        """Forget a manifest that is gone; its rows can be claimed by another."""
        ...

    async def manifests(self) -> list[str]:
        """The manifests that claim ids in this folder, the first one first."""
        ...

    async def tally(self, run_id: str = "") -> Tally:
        """Counts over the present jobs, or over those that this run planned and selected."""
        ...

    async def twins(self, limit: int) -> dict[str, tuple[str, str]]:
        """Images that several present jobs have on record as STORED: by sha256, the ids first and last planned of them.

        At most ``limit`` images; memory holds no more than those.
        """
        ...

    def rows(self) -> AsyncIterator[Record]:
        """The present jobs (those of the last plan of their manifest), by manifest and position, paged."""
        ...

    async def close(self) -> None:
        """Finish what was asked and release the file. May be called again."""
        ...


class Memo(Protocol):
    """Remembers what can be found out again: digests, learned limits. Losing it costs time, never money."""

    def get(self, keys: Sequence[str]) -> dict[str, bytes]:
        """What is remembered of these keys."""
        ...

    def put(self, entries: Mapping[str, bytes]) -> None:
        """Remember. A failure to do so is silent."""
        ...

    def close(self) -> None:
        """Release the file."""
        ...


class Outcome(StrEnum):
    """What the end of a request says about limits."""

    ACCEPTED = "accepted"
    """it got past them"""
    CONGESTED = "congested"
    """too many requests"""
    TROUBLED = "troubled"
    """the API failed or fell silent: no reason to send more at a time"""
    UNSAID = "unsaid"
    """nothing: it was not sent, or refused for its own sake"""


@dataclass(frozen=True, slots=True)
class Place:
    """A request's place under the limits.

    Attributes:
        model: the API's model id.
        begun: when it was started, monotonic seconds.
        rank: how many requests were in flight then, this one included.
        rank_of_model: likewise, of its model.
    """

    model: str
    begun: float
    rank: int
    rank_of_model: int


class Limiter(Protocol):
    """How many requests may be in flight, and when. Pure: no clock, no waiting; ``now`` is monotonic seconds.

    A verdict's scope says what is limited: the model, or the key with all its models. A pause of a model holds that
    model back, any other all of them.
    """

    def admits(self, model: str, now: float) -> bool:
        """Whether one more request to ``model`` may start."""
        ...

    def resumes_at(self, model: str, now: float) -> float | None:
        """When what holds ``model`` back at this moment ends by itself; None if only a finished request makes room."""
        ...

    def started(self, model: str, now: float) -> Place:
        """A request was started; the place is given back to ``finished``."""
        ...

    def finished(
        self,
        place: Place,
        now: float,
        outcome: Outcome,
        *,
        scope: Scope = Scope.KEY,
        asked: float | None = None,
    ) -> float:
        """A request ended. Returns for how many seconds from now ``scope`` pauses on its account; 0 for not at all.

        Args:
            place: as ``started`` gave it.
            now: monotonic seconds.
            outcome: what its end says.
            scope: of the verdict, if it was CONGESTED.
            asked: seconds that the API asked to wait for, if it did.
        """
        ...

    def pause(self, scope: Scope, model: str, now: float, seconds: float) -> None:
        """Start nothing of this scope for so long; a longer pause stands. What follows it sets off one by one."""
        ...

    @property
    def limit(self) -> int:
        """How many requests may be in flight, over all models that were asked for; at least 1."""
        ...

    @property
    def limit_cause(self) -> LimitCause:
        """What changed ``limit`` last."""
        ...

    def learned(self) -> Mapping[str, int]:
        """Limits that were met, by model (``""``: over all), for the next run to begin with."""
        ...


class Rescue(Protocol):
    """Keeps steps that the ledger can't take. Readable by its owner alone: it holds signed URLs."""

    async def keep(self, step: Step) -> None:
        """Keep one more step; it is durable on return.

        Raises:
            StorageError: there is no place that can be written.
        """
        ...

    async def kept(self) -> list[Step]:
        """All steps that are kept, of this run and of earlier ones, in order. What can't be read is left out."""
        ...

    async def clear(self) -> None:
        """The ledger has taken them all: forget them.

        Raises:
            StorageError: they can't be removed; that does no harm but for the URLs that stay there.
        """
        ...

    def where(self) -> str:
        """Where they are, for people; empty if nothing is kept."""
        ...
