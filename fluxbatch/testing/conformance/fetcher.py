"""What every ``Fetcher`` holds to."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias
from urllib.parse import urlsplit

import anyio

from fluxbatch.errors import DeliveryError, StorageError
from fluxbatch.model.state import Reason
from fluxbatch.testing.conformance.expect import equal, expect, raises
from fluxbatch.testing.fetcher import Serving
from fluxbatch.testing.images import make_png
from fluxbatch.testing.sink import MemorySink

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from fluxbatch.model.job import Lease
    from fluxbatch.ports import Fetcher

__all__ = ["CASES", "Case", "Factory", "Rig"]

_DATA: Final = make_png(5, width=512, height=512)
_OTHER: Final = make_png(6, width=512, height=512)


class Rig(Protocol):
    """A fetcher, and a delivery host that does as it is told.

    The fetcher's patience with a host that sends nothing is at most two seconds (virtual or not).
    """

    @property
    def fetcher(self) -> Fetcher:
        """What is under test."""
        ...

    def serve(self, servings: Sequence[Serving], query: str = "") -> Lease:
        """A live lease, whose URL ends in ``query``, for which the host does this, try by try; the last one stays."""
        ...

    def targets(self) -> list[str]:
        """Path and query of all requests that arrived, as they were on the wire."""
        ...

    def credentials(self) -> list[str]:
        """Authorization headers and cookies of all requests that arrived."""
        ...


Factory: TypeAlias = "Callable[[], AbstractAsyncContextManager[Rig]]"
Case: TypeAlias = "Callable[[Factory], Awaitable[None]]"


async def the_bytes_arrive_untouched(make: Factory) -> None:
    """All of them, with what the host says of them."""
    async with make() as rig:
        md5 = b64encode(hashlib.md5(_DATA, usedforsecurity=False).digest()).decode()
        lease = rig.serve([Serving(data=_DATA, etag='"one"', md5=md5)])
        landing = await MemorySink().land()
        await rig.fetcher.fetch(lease, landing)
        equal(landing.data, _DATA, "the bytes that landed")
        equal((landing.etag, landing.md5), ('"one"', md5), "ETag and Content-MD5")


async def the_url_goes_out_byte_for_byte(make: Factory) -> None:
    """Its query is signed."""
    query = "se=2026-08-15T19%3A22%3A20Z&sp=r%2Fw&plus=a+b&sig=ab%2Bcd%2f%3D&empty=&flag"
    async with make() as rig:
        lease = rig.serve([Serving(data=_DATA)], query)
        landing = await MemorySink().land()
        await rig.fetcher.fetch(lease, landing)
        parts = urlsplit(lease.url)
        equal(rig.targets()[-1], f"{parts.path}?{parts.query}", "what was asked for")
        expect(lease.url.endswith(query), "the rig's lease has no such query")


async def no_credentials_go_along(make: Factory) -> None:
    """The key is for the API alone."""
    async with make() as rig:
        lease = rig.serve([Serving(data=_DATA)])
        await rig.fetcher.fetch(lease, await MemorySink().land())
        equal(rig.credentials(), [], "credentials that arrived")


async def a_refusal_is_told_from_a_fault(make: Factory) -> None:
    """403, 404 and 410 say that there is nothing; 429 and 5xx do not, and may say how long to wait."""
    async with make() as rig:
        for status in (403, 404, 410):
            lease = rig.serve([Serving(status=status)])
            with raises(DeliveryError, f"HTTP {status}") as caught:
                await rig.fetcher.fetch(lease, await MemorySink().land())
            expect(caught.error.refused, f"HTTP {status} is a refusal")
        for status in (429, 500, 503):
            lease = rig.serve([Serving(status=status, retry_after=4.0)])
            with raises(DeliveryError, f"HTTP {status}") as caught:
                await rig.fetcher.fetch(lease, await MemorySink().land())
            expect(not caught.error.refused, f"HTTP {status} is no refusal")
            equal(caught.error.retry_after, 4.0, f"Retry-After of HTTP {status}")
            equal(caught.error.reason, Reason.DOWNLOAD_FAILED, f"reason of HTTP {status}")


async def a_broken_transfer_goes_on(make: Factory) -> None:
    """The next try ends with the whole image, each byte once."""
    async with make() as rig:
        lease = rig.serve([Serving(data=_DATA, etag='"one"', cut_after=300), Serving(data=_DATA, etag='"one"')])
        landing = await MemorySink().land()
        with raises(DeliveryError, "a transfer that breaks") as caught:
            await rig.fetcher.fetch(lease, landing)
        expect(not caught.error.refused, "a broken transfer is no refusal")
        await rig.fetcher.fetch(lease, landing)
        equal(landing.data, _DATA, "the bytes after a second try")


async def without_etag_it_starts_over(make: Factory) -> None:
    """Bytes of what may be another image are not mixed."""
    async with make() as rig:
        lease = rig.serve([Serving(data=_OTHER, cut_after=200), Serving(data=_DATA)])
        landing = await MemorySink().land()
        with raises(DeliveryError, "a transfer that breaks"):
            await rig.fetcher.fetch(lease, landing)
        await rig.fetcher.fetch(lease, landing)
        equal(landing.data, _DATA, "the bytes after a second try without ETag")


async def another_etag_starts_over(make: Factory) -> None:
    """The host has another image at the same URL now."""
    async with make() as rig:
        lease = rig.serve([Serving(data=_OTHER, etag='"old"', cut_after=200), Serving(data=_DATA, etag='"new"')])
        landing = await MemorySink().land()
        with raises(DeliveryError, "a transfer that breaks"):
            await rig.fetcher.fetch(lease, landing)
        await rig.fetcher.fetch(lease, landing)
        equal(landing.data, _DATA, "the bytes after the ETag changed")
        equal(landing.etag, '"new"', "the ETag")


async def a_restarted_landing_is_filled_again(make: Factory) -> None:
    """What came was of no use: the same landing is fetched from the start."""
    async with make() as rig:
        lease = rig.serve([Serving(data=_OTHER, etag='"one"'), Serving(data=_DATA, etag='"one"')])
        landing = await MemorySink().land()
        await rig.fetcher.fetch(lease, landing)
        landing.restart()
        await rig.fetcher.fetch(lease, landing)
        equal(landing.data, _DATA, "the bytes after a restart")


async def a_stall_is_given_up(make: Factory) -> None:
    """A host that stops sending is no reason to wait for ever."""
    async with make() as rig:
        for after in (0, 100):
            lease = rig.serve([Serving(data=_DATA, etag='"one"', stall_after=after), Serving(data=_DATA, etag='"one"')])
            landing = await MemorySink().land()
            with anyio.fail_after(10):
                with raises(DeliveryError, f"a stall after {after} bytes") as caught:
                    await rig.fetcher.fetch(lease, landing)
                expect(not caught.error.refused, "a stall is no refusal")
                await rig.fetcher.fetch(lease, landing)
            equal(landing.data, _DATA, "the bytes after a stall")


async def a_full_disk_is_not_the_hosts_fault(make: Factory) -> None:
    """The landing's ``StorageError`` comes through as it is."""
    async with make() as rig:
        lease = rig.serve([Serving(data=_DATA)])
        landing = await MemorySink(capacity=10).land()
        with raises(StorageError, "a landing that can't be written"):
            await rig.fetcher.fetch(lease, landing)


async def transfers_are_not_mixed_up(make: Factory) -> None:
    """Many at a time, each into its own landing."""
    async with make() as rig:
        images = [make_png(number, width=100 + number) for number in range(8)]
        leases = [rig.serve([Serving(data=image, latency_s=0.02 * (8 - n))]) for n, image in enumerate(images)]
        landings = [await MemorySink().land() for _ in leases]
        async with anyio.create_task_group() as tasks:
            for lease, landing in zip(leases, landings, strict=True):
                tasks.start_soon(rig.fetcher.fetch, lease, landing)
        equal([landing.data for landing in landings], images, "the bytes of eight transfers at a time")


CASES: Final[list[Case]] = [
    the_bytes_arrive_untouched,
    the_url_goes_out_byte_for_byte,
    no_credentials_go_along,
    a_refusal_is_told_from_a_fault,
    a_broken_transfer_goes_on,
    without_etag_it_starts_over,
    another_etag_starts_over,
    a_restarted_landing_is_filled_again,
    a_stall_is_given_up,
    a_full_disk_is_not_the_hosts_fault,
    transfers_are_not_mixed_up,
]
