"""Delivery hosts that do as they are told."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit

import anyio

from fluxbatch.errors import DeliveryError
from fluxbatch.model.state import Reason
from fluxbatch.testing.images import make_png

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fluxbatch.model.job import Lease
    from fluxbatch.ports import Clock, Landing

__all__ = ["Fetched", "ScriptedFetcher", "Serving"]

_GONE = frozenset({403, 404, 410})


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What a host does when it is asked for a result.

    Attributes:
        data: the whole image; None for one of the host's own.
        weight: bytes that the image counts for where bandwidth is limited, as if it were so large; None: its own.
        status: anything but 200 comes without an image. A 200 to a request that goes on from earlier bytes is served
            from there if the ETag is still the same.
        etag, md5: as the headers have them; empty for none.
        cut_after: bytes of the body after which the connection breaks.
        stall_after: bytes of the body after which nothing more comes.
        retry_after: seconds, with a status that is no success.
        latency_s: until the first byte.
    """

    data: bytes | None = None
    weight: int | None = None
    status: int = 200
    etag: str = ""
    md5: str = ""
    cut_after: int | None = None
    stall_after: int | None = None
    retry_after: float | None = None
    latency_s: float = 0.1


Script: TypeAlias = "Callable[[Lease, int], Serving]"


@dataclass(frozen=True, slots=True)
class Fetched:
    """One try: the URL, the how-manieth for it (from 1), the byte it began at, and when (monotonic)."""

    url: str
    attempt: int
    offset: int
    at: float


class ScriptedFetcher:
    """The ``Fetcher`` port, played.

    Args:
        clock: its time.
        script: what to do with the n-th try for a lease: a function of both, servings by URL (the last one stays), or
            one for all.
        bandwidth: bytes a second for each transfer, by host (key ``""``: of each of the others); unlimited if not
            given.
        total_bandwidth: bytes a second for all transfers of a host together, likewise. The host is one pipe, and sends
            one image after another, whole, as their first bytes come due.
        honours_deadline: refuse with 403 what is asked for past its deadline, by the clock.
        stall_s: patience with a host that sends nothing.

    Attributes:
        tries: in the order in which they began.
        in_flight, peak: transfers under way now, and at most.
    """

    def __init__(
        self,
        clock: Clock,
        script: Script | Mapping[str, Sequence[Serving]] | Serving | None = None,
        *,
        bandwidth: Mapping[str, float] | None = None,
        total_bandwidth: Mapping[str, float] | None = None,
        honours_deadline: bool = True,
        stall_s: float = 30.0,
    ) -> None:
        self._clock = clock
        self._script = _as_script(script if script is not None else Serving())
        self._bandwidth = dict(bandwidth or {})
        self._total_bandwidth = dict(total_bandwidth or {})
        self._pipe_free_at: dict[str, float] = {}
        self._honours_deadline = honours_deadline
        self._stall_s = stall_s
        self._attempts: Counter[str] = Counter()
        self.tries: list[Fetched] = []
        self.in_flight = 0
        self.peak = 0

    async def fetch(self, lease: Lease, landing: Landing) -> None:
        """Transfer the result into the landing."""
        self._attempts[lease.url] += 1
        attempt = self._attempts[lease.url]
        self.tries.append(Fetched(lease.url, attempt, landing.size if landing.etag else 0, self._clock.monotonic()))
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            await self._serve(lease, landing, self._script(lease, attempt))
        finally:
            self.in_flight -= 1

    async def _serve(self, lease: Lease, landing: Landing, serving: Serving) -> None:
        await anyio.sleep(serving.latency_s)
        status = serving.status
        if self._honours_deadline and self._clock.now() > lease.deadline:
            status = 403
        if status != 200:
            raise DeliveryError(
                f"the host says HTTP {status}",
                reason=Reason.DOWNLOAD_FAILED,
                refused=status in _GONE,
                retry_after=serving.retry_after,
            )
        data = serving.data if serving.data is not None else image_of(lease.url)
        if not (landing.size and landing.etag and landing.etag == serving.etag):
            landing.restart()
            landing.etag, landing.md5 = serving.etag, serving.md5
        await self._transfer(lease, landing, serving, data)

    async def _transfer(self, lease: Lease, landing: Landing, serving: Serving, data: bytes) -> None:
        start = landing.size
        ends = [end for end in (serving.cut_after, serving.stall_after) if end is not None]
        piece = data[start:][: min(ends)] if ends else data[start:]
        share = len(piece) / len(data) if data else 0.0
        await anyio.sleep(self._seconds(lease, share * (len(data) if serving.weight is None else serving.weight)))
        landing.write(piece)
        if serving.stall_after is not None:
            await anyio.sleep(self._stall_s)
            raise _failed(f"no byte for {self._stall_s:.0f} s")
        if landing.size < len(data):
            raise _failed(f"the transfer ended after {landing.size} of {len(data)} bytes")

    def _seconds(self, lease: Lease, size: float) -> float:
        """How long so many bytes take from now. The pipe is theirs from here on, also if the client leaves."""
        host = urlsplit(lease.url).hostname or ""
        alone = self._bandwidth.get(host, self._bandwidth.get("", 0.0))
        seconds = size / alone if alone else 0.0
        together = self._total_bandwidth.get(host, self._total_bandwidth.get("", 0.0))
        if not together:
            return seconds
        now = self._clock.monotonic()
        through = max(now, self._pipe_free_at.get(host, 0.0)) + size / together
        self._pipe_free_at[host] = through
        return max(seconds, through - now)


def image_of(url: str) -> bytes:
    """The image that waits at a URL if the script names none: another one for each URL."""
    return make_png(sum(position * byte for position, byte in enumerate(url.encode(), 1)))


def _as_script(script: Script | Mapping[str, Sequence[Serving]] | Serving) -> Script:
    match script:
        case Serving():
            return lambda _lease, _attempt: script
        case _ if callable(script):
            return script
        case _:
            return lambda lease, attempt: _serving_of(script.get(lease.url, ()), attempt)


def _serving_of(servings: Sequence[Serving], attempt: int) -> Serving:
    return servings[min(attempt, len(servings)) - 1] if servings else Serving()


def _failed(message: str) -> DeliveryError:
    return DeliveryError(message, reason=Reason.DOWNLOAD_FAILED)
