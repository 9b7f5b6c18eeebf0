"""The Python face: run a manifest, photos, or jobs of your own, and read typed results."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import anyio
import orjson

from fluxbatch.app.request import Hooks, RunRequest
from fluxbatch.app.run import run as run_request
from fluxbatch.errors import UsageError
from fluxbatch.planning.intake import JobList, ManifestFile, PhotoSet
from fluxbatch.settings import DEFAULT_BASE_URL, KEY_VARIABLES, Settings

if TYPE_CHECKING:
    from fluxbatch.model.events import Event
    from fluxbatch.model.job import Json
    from fluxbatch.model.summary import Summary
    from fluxbatch.planning.intake import SourceSpec

__all__ = ["Job", "Result", "ResultError", "RunResult", "arun", "run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One image to be made. What is None is left to the API's default, or to ours where it is said so.

    Attributes:
        prompt: "image 1" means the first of ``images``, and so on.
        id: names the output; derived from photo or prompt if not given.
        images: paths, public URLs, or ``{"job": id}`` for the image of another job; image 1 first.
        model: an id of ``fluxbatch models``; ``flux-2-pro`` by default.
        aspect_ratio: as ``16:9``; by default that of image 1.
        width: pixels, with ``height``: 64 to 2048, multiples of 16.
        height: likewise.
        size: both at once, as ``1024x768``.
        seed: derived from the id by default, so that an image can be made again.
        safety_tolerance: 0 (strictest) to 6.
        output_format: ``jpeg`` (default) or ``png``.
        prompt_upsampling: let the API write the prompt out; off by default.
        steps: flux-2-flex only.
        guidance: flux-2-flex only.
        variants: make so many, ``ID-1``, ``ID-2`` …, with different seeds.
        chain: prompts in place of ``prompt``, each for the result of the one before; the last has the id.
        fit: ``auto`` (default) mends photos that the API would refuse or see wrongly; ``off``; or a mapping.
        meta: echoed into the results.
        extra: further API fields, passed through.
    """

    prompt: str | None = None
    id: str | None = None
    images: Sequence[str | Path | Mapping[str, str]] = ()
    model: str | None = None
    aspect_ratio: str | None = None
    width: int | None = None
    height: int | None = None
    size: str | None = None
    seed: int | None = None
    safety_tolerance: int | None = None
    output_format: Literal["jpeg", "png"] | None = None
    prompt_upsampling: bool | None = None
    steps: int | None = None
    guidance: float | None = None
    variants: int | None = None
    chain: Sequence[str | Mapping[str, Json]] = ()
    fit: Literal["auto", "off"] | Mapping[str, Json] | None = None
    meta: Mapping[str, Json] = field(default_factory=dict)
    extra: Mapping[str, Json] = field(default_factory=dict)

    def as_fields(self) -> dict[str, Json]:
        """As a manifest would say it."""
        said: dict[str, Any] = {one.name: getattr(self, one.name) for one in fields(self)}
        said["images"] = [str(image) if isinstance(image, str | Path) else dict(image) for image in self.images]
        said["chain"] = [step if isinstance(step, str) else dict(step) for step in self.chain]
        said["meta"], said["extra"] = dict(self.meta), dict(self.extra)
        return {name: value for name, value in said.items() if value not in (None, [], {})}


Jobs: TypeAlias = Iterable[Job | Mapping[str, "Json"]]


@dataclass(frozen=True, slots=True)
class ResultError:
    """Why a job failed: an error code, a message, the HTTP status if there was one."""

    code: str
    message: str
    http_status: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One line of ``results.jsonl``; ``path`` is the image on disk, None unless it is ``stored`` in a folder.

    ``flags``: hints that the image may not be what was asked for, words of ``fluxbatch.model.flags.Flag``.
    """

    id: str
    status: Literal["stored", "failed", "pending"]
    cached: bool
    path: Path | None
    file: str | None
    sha256: str | None
    bytes: int | None
    width: int | None
    height: int | None
    model: str
    prompt: str
    inputs: list[str]
    fitted: list[dict[str, Any]]
    seed: int
    fingerprint: str
    attempts: int
    charged: int
    unknown_charges: int
    cost_usd: float
    url_age_s: float | None
    request_id: str | None
    simulated: bool
    meta: dict[str, Any]
    error: ResultError | None
    flags: list[str] = field(default_factory=list)
    flag_details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunResult:
    """A finished run.

    Attributes:
        summary: its account; ``summary.exit_code`` is what the command line would exit with.
        out: the output folder; with an object store the state folder, which has a copy of ``results.jsonl``.
        store: address that the images are at, if they are in an object store.
    """

    summary: Summary
    out: Path
    store: str | None = None

    @property
    def ok(self) -> bool:
        """Everything asked for is there."""
        return self.summary.exit_code == 0

    def results(self) -> Iterator[Result]:
        """The folder's results in manifest order, one at a time from disk."""
        with (self.out / "results.jsonl").open("rb") as lines:
            for line in lines:
                facts: dict[str, Any] = orjson.loads(line)
                facts["path"] = None if facts["file"] is None or self.store else self.out / facts["file"]
                facts["error"] = None if facts["error"] is None else ResultError(**facts["error"])
                yield Result(**facts)


async def arun(  # noqa: PLR0913  # the command line's options, by name
    what: str | Path | Sequence[str | Path] | Jobs,
    *,
    prompt: str | None = None,
    with_images: Sequence[str | Path] = (),
    model: str | None = None,
    out: str | Path | None = None,
    state: str | Path | None = None,
    simulate: bool = False,
    api_key: str | None = None,
    base_url: str = DEFAULT_BASE_URL,
    on_invalid: Literal["error", "skip"] = "error",
    on_event: Callable[[Event], None] | None = None,
    prices: Mapping[str, float] | None = None,
    ca_file: str | Path | None = None,
    handle_signals: bool = False,
    **settings: Any,
) -> RunResult:
    """Make what is missing; called again, it goes on where it was.

    Args:
        what: a manifest or several; photos or a folder of them, with ``prompt``; or an iterable of ``Job`` or mappings
            (read once, never held in memory as a whole).
        prompt: for photos: each is image 1 of a job of its own.
        with_images: for photos: images 2, 3 … of each job.
        model: for photos.
        out: output folder; by default as the manifest says, or named after it. Jobs need one. Or an address in an
            object store (``s3://bucket/prefix``), which takes ``state``.
        state: folder of the ledger, if not in the output folder.
        simulate: serve the requests from the embedded simulator.
        api_key: by default from ``FLUXBATCH_API_KEY`` or ``APIYI_API_KEY``.
        base_url: of the API, up to and with ``/v1``.
        on_invalid: raise over an invalid job, or leave it out.
        on_event: is called with every event, in the event loop's thread; must be quick.
        prices: USD of an image by model, over the known list.
        ca_file: certificates to trust beside the system's.
        handle_signals: SIGINT, SIGTERM and SIGHUP end the run in order: nothing new is sent, what is paid for is
            fetched. Cancelling the call instead drops what is in flight, which is billed all the same. Main thread
            only.
        **settings: of ``fluxbatch.Settings``: ``concurrency``, ``max_cost_usd``, ``limit`` and so on.

    Raises:
        ManifestError: jobs are invalid; nothing was sent.
        UsageError: something else is missing or wrong; nothing was sent.
        FolderInUse: another run has the output folder.
        StorageError: the output folder can't be written.
    """
    if simulate:
        api_key = ""
    elif api_key is None:
        api_key = next((os.environ[name] for name in KEY_VARIABLES if os.environ.get(name)), "")
    request = RunRequest(
        sources=_sources(what, prompt, with_images, model, out),
        out=out,
        state=None if state is None else Path(state),
        base_url=base_url,
        api_key=api_key,
        simulate=simulate,
        on_invalid=on_invalid,
        settings=Settings.of(settings),
        ca_file=None if ca_file is None else Path(ca_file),
        prices=prices or {},
        hooks=Hooks(observers=[] if on_event is None else [_Told(on_event)], signals=handle_signals),
    )
    outcome = await run_request(request)
    store = outcome.paths.store
    return RunResult(outcome.summary, outcome.paths.out, None if store is None else store.url)


def run(what: str | Path | Sequence[str | Path] | Jobs, **options: Any) -> RunResult:
    """``arun`` for code without an event loop; the same arguments, the same errors.

    In the main thread, Ctrl-C ends the run in order (``handle_signals``), and the result says so.
    """
    options.setdefault("handle_signals", threading.current_thread() is threading.main_thread())

    async def call() -> RunResult:
        return await arun(what, **options)

    return anyio.run(call)


class _Told:
    def __init__(self, tell: Callable[[Event], None]) -> None:
        self._tell = tell

    def note(self, event: Event) -> None:
        self._tell(event)


def _sources(
    what: Any, prompt: str | None, with_images: Sequence[str | Path], model: str | None, out: str | Path | None
) -> list[SourceSpec]:
    paths = [what] if isinstance(what, str | Path) else what
    if isinstance(paths, Sequence) and paths and all(isinstance(path, str | Path) for path in paths):
        files = [Path(path) for path in paths]
        if prompt is not None:
            return [PhotoSet(tuple(files), prompt, with_images=tuple(with_images), model=model)]
        return [ManifestFile(path) for path in files]
    if prompt is not None or with_images or model is not None:
        raise UsageError("prompt, with_images and model are for photos", remedy="they are fields of each job")
    if out is None:
        raise UsageError("jobs need an output folder", remedy="say out=…")
    mappings: Iterator[Any] = (job.as_fields() if isinstance(job, Job) else job for job in paths)
    return [JobList(mappings, base=Path())]
