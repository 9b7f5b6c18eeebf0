"""A job as it is planned and sent, and its row in the ledger."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from fluxbatch.model.state import Charge, JobState, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Failure",
    "Fit",
    "Fitting",
    "Image",
    "JobOutput",
    "Json",
    "Lease",
    "ObjectPhoto",
    "Photo",
    "PlannedJob",
    "Record",
    "RemoteImage",
    "Step",
    "Stored",
]

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


@dataclass(frozen=True, slots=True)
class Fit:
    """What the user wants done to photos before they are sent.

    Attributes:
        off: nothing at all; else what the API would refuse or see wrongly is mended.
        max_megapixels: a larger photo is made smaller (a megapixel is 1024 × 1024).
        multiple_of: pixels; sides that are no multiple of it lose what is over, at both edges.
        long_edge: pixels; a photo with a longer side is made smaller.
        background: ``#RRGGBB``, put behind what is transparent.
    """

    off: bool = False
    max_megapixels: float | None = None
    multiple_of: int | None = None
    long_edge: int | None = None
    background: str | None = None


@dataclass(frozen=True, slots=True)
class Fitting:
    """What is done to one photo before it is sent, in this order; always turned upright and brought to 8-bit RGB.

    Attributes:
        width, height: pixels that it is scaled to, once upright.
        crop_width, crop_height: pixels that are left of its middle.
        mime: of the bytes that are sent: ``image/jpeg`` or ``image/png`` (with alpha, if there is any).
        background: ``#RRGGBB`` behind what is transparent, empty to leave that as it is.
        why: what is wrong with the photo or asked for, in words for people.
    """

    width: int
    height: int
    crop_width: int
    crop_height: int
    mime: str
    background: str = ""
    why: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Photo:
    """A local reference image, as it was when it was checked.

    Attributes:
        ref: the path as the user wrote it.
        path: the absolute path.
        mime: by the bytes: ``image/png``, ``image/jpeg`` or ``image/webp``.
        size: bytes.
        mtime_ns, inode: with ``size``, how a later change is noticed without reading the file again.
        width, height: pixels.
        digest: blake3 of the bytes, hex.
        fitting: what is done to it before it is sent; None if it goes byte for byte.
    """

    ref: str
    path: str
    mime: str
    size: int
    mtime_ns: int
    inode: int
    width: int
    height: int
    digest: str
    fitting: Fitting | None = None


@dataclass(frozen=True, slots=True)
class RemoteImage:
    """A reference image that the API fetches itself from a public URL."""

    ref: str


@dataclass(frozen=True, slots=True)
class ObjectPhoto:
    """A reference image in an object store, as it was when it was checked. Nobody has seen its pixels yet.

    Attributes:
        ref: its address, as the user wrote it.
        etag: as the store gave it, without quotes; with ``size``, how a later change is noticed.
        size: bytes.
        fit: what is to be done to it before it is sent; None for what happens by itself.
        presign: the API gets a URL of it that dies, not its bytes.
    """

    ref: str
    etag: str
    size: int
    fit: Fit | None = None
    presign: bool = False


@dataclass(frozen=True, slots=True)
class JobOutput:
    """The output of another job as a reference image; that job has to be stored first.

    Attributes:
        job: its id.
        fit: what is to be done to it before it is sent; None if it goes as it is.
    """

    job: str
    fit: Fit | None = None

    @property
    def ref(self) -> str:
        """How it is named among other references."""
        return f"job:{self.job}"


Image: TypeAlias = Photo | RemoteImage | ObjectPhoto | JobOutput


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """A job that passed all checks, ready to be sent.

    Attributes:
        id: unique in its output folder.
        manifest: the manifest that claims the id, as the ledger knows it.
        position: order in the run, over all its manifests.
        model: the API's model id.
        fields: what the request says beside its images, with defaults filled in (always a seed).
        images: image 1 first.
        filename: below the output folder, without extension, ``/`` between folders.
        fingerprint: of what the user asked for; a stored image with the same one is kept.
        price: USD of one image, None if the model has no known price.
        meta: echoed into the results.
        defect: what keeps it from being sent at all (found before the run, with invalid jobs skipped).
    """

    id: str
    manifest: str
    position: int
    model: str
    fields: Mapping[str, Json]
    images: tuple[Image, ...]
    filename: str
    fingerprint: str
    price: float | None = None
    meta: Mapping[str, Json] = field(default_factory=dict)
    defect: Failure | None = None

    @property
    def needs(self) -> tuple[str, ...]:
        """Ids of the jobs whose output this one takes, each once."""
        return tuple(dict.fromkeys(image.job for image in self.images if isinstance(image, JobOutput)))


@dataclass(frozen=True, slots=True)
class Lease:
    """A result that is paid for and waits at a URL that dies.

    Attributes:
        url: byte for byte as the API gave it; its query is signed and secret.
        deadline: when it dies, epoch seconds of our own clock.
        granted_at: when the image was made, epoch seconds of our own clock, as near as it can be known.
        request_id: the gateway's id of the request, empty if it gave none.
    """

    url: str = field(repr=False)
    deadline: float
    granted_at: float
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Stored:
    """An image that landed.

    Attributes:
        file: path below the output folder, with its extension.
        sha256: hex, of the bytes as served.
        bytes: size.
        width, height: pixels.
        mtime_ns: of the file once landed; tells an untouched output without reading it.
        fingerprint: of the job that it was made for.
        url_age_s: seconds from generation to the last byte; None if the image came in the answer itself.
        model, seed: that it was made with; empty and None if they are those of the job, as in ledgers of old.
        etag: of the object, in an object store; empty in a folder.
    """

    file: str
    sha256: str
    bytes: int
    width: int
    height: int
    mtime_ns: int = 0
    fingerprint: str = ""
    url_age_s: float | None = None
    model: str = ""
    seed: int | None = None
    etag: str = ""

    @property
    def filename(self) -> str:
        """The file without its extension: the name that its job asked for."""
        return self.file.rpartition(".")[0]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job failed.

    Attributes:
        reason: the error code.
        message: for people; never holds a key or a signed query.
        http_status: of the answer, if there was one.
    """

    reason: Reason
    message: str
    http_status: int | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """A job's row in the ledger.

    Attributes:
        job: as last planned.
        state: where it stands.
        attempts: requests that ended in a verdict of their own (429s and shared pauses use up none).
        charged, unknown, lost: counts over the life of (id, fingerprint), also if others came in between.
        pardoned: possibly-charged attempts that count no more against the cap, since the user asked for one more.
        cost_usd, unknown_usd: USD surely and maybe billed, over the life of (id, fingerprint).
        lease: set while GENERATED, and after a delivery that failed with the URL still to be tried.
        stored: the image on disk; unless the state is STORED, one of an earlier fingerprint, or of a job that can't be
            sent now.
        stored_by: the run that stored it.
        failure: set while FAILED.
        request_id: of the last answer.
        run_id: the run whose plan it was last in.
        selected: whether that run may send it.
    """

    job: PlannedJob
    state: JobState = JobState.PENDING
    attempts: int = 0
    charged: int = 0
    unknown: int = 0
    lost: int = 0
    pardoned: int = 0
    cost_usd: float = 0.0
    unknown_usd: float = 0.0
    lease: Lease | None = None
    stored: Stored | None = None
    stored_by: str = ""
    failure: Failure | None = None
    request_id: str = ""
    run_id: str = ""
    selected: bool = True

    @property
    def risked(self) -> int:
        """Possibly-charged attempts that count against the cap for life."""
        return self.charged + self.unknown - self.pardoned


@dataclass(frozen=True, slots=True)
class Step:
    """One transition, asked of the ledger as compare-and-set.

    Attributes:
        job_id: whose.
        frm: the state that the job must be in.
        to: the state it gets; ``NEXT`` must allow it.
        charge: what this step learned about the attempt that it ends.
        usd: price of that attempt; counted as cost if charged, as unknown if unknown.
        attempts: how many attempts this step uses up.
        lost: a paid image that will not be stored.
        lease: to be put on record (GENERATED), or kept (FAILED with a URL still to be tried).
        stored: with STORED.
        failure: with FAILED.
        request_id: of the answer, if there was one.
    """

    job_id: str
    frm: JobState
    to: JobState
    charge: Charge = Charge.NONE
    usd: float = 0.0
    attempts: int = 0
    lost: bool = False
    lease: Lease | None = None
    stored: Stored | None = None
    failure: Failure | None = None
    request_id: str = ""
