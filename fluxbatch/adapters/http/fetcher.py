"""The ``Fetcher`` port over HTTP: signed URLs byte for byte, no key, no private addresses, resumed by Range."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import aiohttp
from yarl import URL

from fluxbatch.adapters.http.connect import ForbiddenAddress, is_loopback, is_public
from fluxbatch.adapters.http.patience import Patience
from fluxbatch.adapters.http.reply import seconds_to_wait
from fluxbatch.errors import DeliveryError
from fluxbatch.model.state import Reason
from fluxbatch.policy.peers import Peers
from fluxbatch.telemetry.redact import clean

if TYPE_CHECKING:
    from fluxbatch.adapters.http.connect import Network
    from fluxbatch.model.job import Lease
    from fluxbatch.policy.peers import Transfer
    from fluxbatch.ports import Clock, Landing
    from fluxbatch.settings import Settings

__all__ = ["HttpFetcher"]

_MOST_HOPS: Final = 5
_UNUSABLE: Final = "the result's URL can't be used"
_GONE: Final = frozenset({403, 404, 410})
_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)", re.ASCII)
_STRONG_ETAG: Final = re.compile(r'"[\x21\x23-\x7e]*"')
_MD5: Final = re.compile(r"[A-Za-z0-9+/]{22}==")
_IPV4: Final = re.compile(r"[\d.]+")


class HttpFetcher:
    """Fetches results.

    Args:
        network, clock, settings: as their ports say.
        local: the API itself is on this machine, so its results may be too, over plain http.
        peers: tells which transfer is much slower than the others of its host.
    """

    def __init__(
        self, *, network: Network, clock: Clock, settings: Settings, local: bool, peers: Peers | None = None
    ) -> None:
        self._network = network
        self._clock = clock
        self._settings = settings
        self._local = local
        self._peers = peers or Peers()
        self._session = network.delivery_session(guard=not local)

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def fetch(self, lease: Lease, landing: Landing) -> None:
        """Transfer the result into the landing."""
        try:
            with Patience(self._settings.download_stall_s) as patience:
                begun = self._clock.monotonic()
                response = await self._open(lease.url, landing)
                async with response:
                    transfer = self._begin(response, lease, landing, begun)
                    try:
                        await self._receive(response.content, transfer, lease, landing, patience)
                    finally:
                        self._peers.end(transfer, self._clock.monotonic())
        except TimeoutError:
            raise _failed(f"no byte for {self._settings.download_stall_s:g} s") from None
        except ForbiddenAddress as error:
            raise _failed(str(error)) from None
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):  # their text is the URL
            raise _failed(_UNUSABLE) from None
        except (aiohttp.ClientError, OSError) as error:
            cause = error.__cause__ or error
            raise _failed(clean(str(cause) or type(cause).__name__)) from None
        except ValueError:  # aiohttp and the codecs of the standard library, over a host that can't be one
            raise _failed(_UNUSABLE) from None
        if patience.ran_out:
            raise _failed(f"no byte for {self._settings.download_stall_s:g} s")

    async def _open(self, text: str, landing: Landing) -> aiohttp.ClientResponse:
        url = _as_issued(text)
        headers = {"Range": f"bytes={landing.size}-", "If-Range": landing.etag} if landing.size and landing.etag else {}
        for _ in range(_MOST_HOPS):
            self._check(url)
            proxy = self._network.proxy(url)
            # through a tunnel the proxy's own headers go to the proxy alone; without TLS there is no tunnel
            extra = proxy.headers if proxy.headers and url.scheme == "http" else {}
            response = await self._session.get(
                url, headers={**headers, **extra}, allow_redirects=False, proxy=proxy.url, proxy_headers=proxy.headers
            )
            target = response.headers.get("Location")
            if response.status not in {301, 302, 303, 307, 308} or not target:
                return response
            response.release()
            url = url.join(_as_issued(target))
        raise _failed(f"more than {_MOST_HOPS} redirects")

    def _check(self, url: URL) -> None:
        if self._local:
            return
        host = url.host or ""
        if url.scheme != "https":
            raise _failed(f"the result is at {url.scheme}://{host}, and only https is fetched")
        literal = ":" in host or _IPV4.fullmatch(host) is not None
        if is_loopback(host) or (literal and not is_public(host)):
            raise ForbiddenAddress(f"{host} is an address of a private network")

    def _begin(self, response: aiohttp.ClientResponse, lease: Lease, landing: Landing, begun: float) -> Transfer:
        """Make landing and answer fit each other, and have the transfer followed."""
        self._position(response, landing)
        whole = _whole_size(response)
        if whole is not None and whole > self._settings.max_image_bytes:
            raise _failed(f"the result has {whole} bytes, the cap is {self._settings.max_image_bytes}")
        resumable = landing.etag != "" and response.headers.get("Accept-Ranges", "").strip().lower() != "none"
        return self._peers.begin(
            lease.url, response.host, begun=begun, size=landing.size, whole=whole, resumable=resumable
        )

    async def _receive(
        self,
        content: aiohttp.StreamReader,
        transfer: Transfer,
        lease: Lease,
        landing: Landing,
        patience: Patience,
    ) -> None:
        while not content.at_eof():
            piece = await content.readany()
            if landing.size + len(piece) > self._settings.max_image_bytes:
                raise _failed(f"the result has more than {self._settings.max_image_bytes} bytes")
            landing.write(piece)
            patience.last(self._settings.download_stall_s)
            left_s = lease.deadline - self._clock.now()
            slow = self._peers.grew(transfer, landing.size, self._clock.monotonic(), left_s=left_s)
            if slow is not None:
                # what came is kept: the next try goes on from there, over another connection
                raise _failed(f"{slow.own:.0f} B/s, others on this host {slow.others:.0f} B/s")
        if transfer.whole is not None and landing.size != transfer.whole:
            raise _failed(f"the transfer ended after {landing.size} of {transfer.whole} bytes")

    def _position(self, response: aiohttp.ClientResponse, landing: Landing) -> None:
        """Make the landing fit what the host sends: from where it stands, or from the start."""
        headers = response.headers
        if response.status == 206:
            found = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
            if found and int(found[1]) == landing.size and headers.get("ETag", landing.etag) == landing.etag:
                return
            landing.restart()
            raise _failed("the host resumed at the wrong place")
        if response.status != 200:
            if response.status == 416:
                landing.restart()
            retry_after = seconds_to_wait(headers, self._clock.now())
            gone = response.status in _GONE
            raise DeliveryError(
                f"the host says HTTP {response.status}",
                reason=Reason.DOWNLOAD_FAILED,
                refused=gone,
                retry_after=retry_after,
            )
        landing.restart()
        etag = headers.get("ETag", "")
        md5 = headers.get("Content-MD5", "")
        landing.etag = etag if _STRONG_ETAG.fullmatch(etag) else ""
        # a header in another form would be matched by no image at all
        landing.md5 = md5 if _MD5.fullmatch(md5) else ""


def _as_issued(text: str) -> URL:
    """A URL that goes out byte for byte: yarl would rewrite ``%2F`` and ``%3A``, and break the signature."""
    try:
        return URL(text, encoded=True)
    except ValueError:
        raise _failed(_UNUSABLE) from None


def _whole_size(response: aiohttp.ClientResponse) -> int | None:
    """What the whole image weighs, if the host says so."""
    if response.status == 206:
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        return int(found[3]) if found and found[3] != "*" else None
    return response.content_length


def _failed(message: str) -> DeliveryError:
    return DeliveryError(message, reason=Reason.DOWNLOAD_FAILED)
