"""A word to somebody else's server: one POST, tried twice, whose address is a secret."""

from __future__ import annotations

import ssl
import urllib.request
from typing import TYPE_CHECKING, Final

import aiohttp
import anyio
import anyio.to_thread
from yarl import URL

from fluxbatch.adapters.http.connect import Network
from fluxbatch.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["post_notice"]

_TRIES: Final = 2
_PATIENCE_S: Final = 10.0
_PAUSE_S: Final = 2.0


async def post_notice(address: str, body: bytes, ca_file: Path | None) -> str:
    """Send JSON; returns why it was not taken, without the address but for its host, empty if it was.

    Tried again once if nobody answers, or with 429 or 5xx; ten seconds each. Redirects are not followed: what is told
    is for the host that was named.
    """
    try:
        url = URL(address)
        network = await anyio.to_thread.run_sync(_network, ca_file)
        proxy = network.proxy(url)
    except ValueError:
        return "its address can't be understood"
    except UsageError as error:
        return error.message
    lost = ""
    async with network.api_session() as session:
        for number in range(_TRIES):
            if number:
                await anyio.sleep(_PAUSE_S)
            lost, again = await _try(session, url, body, proxy.url, dict(proxy.headers or {}))
            if not lost or not again:
                break
    return lost


def _network(ca_file: Path | None) -> Network:
    return Network(ca_file=ca_file, proxies=urllib.request.getproxies())


async def _try(
    session: aiohttp.ClientSession, url: URL, body: bytes, proxy: URL | None, proxy_headers: dict[str, str]
) -> tuple[str, bool]:
    """What went wrong, and whether another try may do better."""
    place = url.host or "its host"
    try:
        with anyio.fail_after(_PATIENCE_S):
            async with session.post(
                url,
                data=body,
                headers={"Content-Type": "application/json"},
                allow_redirects=False,
                proxy=proxy,
                proxy_headers=proxy_headers or None,
            ) as answer:
                status = answer.status
    except TimeoutError:
        return f"{place} did not answer within {_PATIENCE_S:g} s", True
    except (aiohttp.ClientError, ssl.SSLError, OSError, ValueError) as error:
        return f"{place}: {type(error).__name__}", True  # their words may hold the address
    if status < 300:
        return "", False
    if status < 400:
        return f"{place} answers with a redirect ({status}), which is not followed", False
    return f"{place} says HTTP {status}", status == 429 or status >= 500
