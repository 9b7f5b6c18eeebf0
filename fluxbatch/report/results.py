"""``results.jsonl``: a line a job of the folder's manifests, in manifest order, replaced all at once."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import aiofiles
import aiofiles.os
import anyio.to_thread
import orjson

from fluxbatch.errors import StorageError
from fluxbatch.model.job import Photo, RemoteImage
from fluxbatch.model.state import JobState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    from fluxbatch.model.flags import Flags
    from fluxbatch.model.job import Fitting, Image, Record

__all__ = ["in_pages", "result_of", "write_results"]

_BATCH: Final = 200
_STATUS: Final = {JobState.STORED: "stored", JobState.FAILED: "failed"}


async def write_results(
    path: Path,
    rows: AsyncIterator[Record],
    *,
    run_id: str,
    simulated: bool,
    find_flags: Callable[[Sequence[Record]], Awaitable[Sequence[Flags]]],
) -> int:
    """Write the file anew and return how many lines it has; a reader sees the old one or the whole new one.

    Args:
        path: of the file.
        rows: the present jobs.
        run_id: of the run that images are new in.
        simulated: no money, no model.
        find_flags: is asked for the flags of some rows at a time.

    Raises:
        StorageError: the folder can't be written; the old file stands.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    count = 0
    try:
        async with aiofiles.open(temporary, "wb") as file:
            async for page in in_pages(rows, _BATCH):
                found = zip(page, await find_flags(page), strict=True)
                lines = [
                    orjson.dumps(result_of(record, run_id=run_id, simulated=simulated, flags=flags))
                    for record, flags in found
                ]
                await file.write(b"\n".join(lines) + b"\n")
                count += len(lines)
            await file.flush()
            await anyio.to_thread.run_sync(os.fsync, file.fileno())
        await aiofiles.os.replace(temporary, path)
    except OSError as error:
        raise StorageError(
            f"{path} can't be written: {error.strerror or error}",
            remedy="free space or mend the folder; fluxbatch status --results writes it again",
        ) from error
    finally:
        with anyio.CancelScope(shield=True), suppress(OSError):  # it is gone if it went into its place
            await aiofiles.os.unlink(temporary)
    return count


async def in_pages(rows: AsyncIterator[Record], size: int) -> AsyncIterator[list[Record]]:
    """Rows, so many at a time."""
    page: list[Record] = []
    async for record in rows:
        page.append(record)
        if len(page) >= size:
            yield page
            page = []
    if page:
        yield page


def result_of(record: Record, *, run_id: str, simulated: bool, flags: Flags | None = None) -> dict[str, Any]:
    """One line of the results, as data. ``cached`` is true for an image that was there before this run."""
    job = record.job
    stored = record.stored if record.state is JobState.STORED else None
    failure = record.failure if record.state is JobState.FAILED else None
    return {
        "id": job.id,
        "status": _STATUS.get(record.state, "pending"),
        "cached": stored is not None and record.stored_by != run_id,
        "file": stored and stored.file,
        "sha256": stored and stored.sha256,
        "bytes": stored and stored.bytes,
        "width": stored and stored.width,
        "height": stored and stored.height,
        "model": (stored and stored.model) or job.model,
        "prompt": job.fields.get("prompt"),
        "inputs": [_input(image) for image in job.images],
        "fitted": [
            _fitted(number, image.fitting)
            for number, image in enumerate(job.images, 1)
            if isinstance(image, Photo) and image.fitting is not None
        ],
        "seed": job.fields.get("seed") if stored is None or stored.seed is None else stored.seed,
        "fingerprint": job.fingerprint,
        "attempts": record.attempts,
        "charged": record.charged,
        "unknown_charges": record.unknown,
        "cost_usd": round(record.cost_usd, 6),
        "url_age_s": None if stored is None or stored.url_age_s is None else round(stored.url_age_s, 3),
        "request_id": record.request_id or None,
        "simulated": simulated,
        "flags": list(flags or ()),
        "flag_details": {} if flags is None else {flag.value: dict(details) for flag, details in flags.items()},
        "meta": dict(job.meta),
        "error": failure and {"code": failure.reason, "message": failure.message, "http_status": failure.http_status},
    }


def _fitted(number: int, fitting: Fitting) -> dict[str, Any]:
    """What is done to a photo before it is sent; ``width`` and ``height`` are pixels as sent."""
    return {
        "image": number,
        "width": fitting.crop_width,
        "height": fitting.crop_height,
        "mime": fitting.mime,
        "why": list(fitting.why),
    }


def _input(image: Image) -> str:
    """As the user wrote it; of a URL without its query, which may be signed."""
    address, asked, _ = image.ref.partition("?") if isinstance(image, RemoteImage) else (image.ref, "", "")
    return f"{address}?…" if asked else address
