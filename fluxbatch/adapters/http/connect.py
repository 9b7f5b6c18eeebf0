"""Connections: TLS, proxies, keep-alive, and which addresses may be spoken to at all."""

from __future__ import annotations

import base64
import ipaddress
import os
import re
import socket
import ssl
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from fluxbatch.errors import UsageError
from fluxbatch.telemetry.redact import clean

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

__all__ = ["ForbiddenAddress", "Network", "Proxy", "check_base_url", "is_loopback"]

_KEEPALIVE_S: Final = 30
_REUSE_POST_S: Final = 4.0
"""A connection that idled longer may be closed by the gateway while we write to it, which looks like a billed loss:
15 of 30 POSTs in a trial."""
_REUSE_GET_S: Final = 15.0
_CONNECT_S: Final = 30.0
_MOST_WAYS: Final = 256
"""hosts whose way is remembered"""
_UNSENT: Final = 128 * 1024
"""bytes that wait in the system to be sent. It would take megabytes: whole photos, which then count as maybe billed
when the connection breaks, and on a slow line look like an upload without progress."""
_NAME: Final = re.compile(r"(?:[\w-]{1,63}\.)*[\w-]{1,63}\.?", re.ASCII)
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""in a network of IPv6 alone, the whole IPv4 internet is seen here"""


class ForbiddenAddress(OSError):
    """A result URL points into a private network."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """How to reach a URL through a proxy; ``url`` None is direct. ``headers`` are for the proxy alone."""

    url: URL | None = None
    headers: Mapping[str, str] | None = None


class Network:
    """Makes the sessions of a run.

    Args:
        ca_file: certificates to trust beside the system's (``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` work as always).
        proxies: by scheme, as ``urllib.request.getproxies`` gives them; ``all`` where there is none for https.
    """

    def __init__(self, *, ca_file: Path | None = None, proxies: Mapping[str, str] | None = None) -> None:
        self._tls = _tls(ca_file)
        self._proxies = {scheme: _proxy(url) for scheme, url in _by_scheme(proxies or {}).items()}
        self._ways: dict[tuple[str, str, int | None], Proxy] = {}

    def proxy(self, url: URL) -> Proxy:
        """The proxy for a URL. Loopback and what ``NO_PROXY`` names are reached directly."""
        place = url.scheme, url.host or "", url.port
        if place not in self._ways:
            if len(self._ways) >= _MOST_WAYS:
                self._ways.clear()
            self._ways[place] = self._way(*place)
        return self._ways[place]

    def _way(self, scheme: str, host: str, port: int | None) -> Proxy:
        # an IPv6 address goes without its port, which could not be told from it
        if is_loopback(host) or urllib.request.proxy_bypass(host if ":" in host else f"{host}:{port}"):
            return Proxy()
        return self._proxies.get(scheme, Proxy())

    def api_session(self) -> aiohttp.ClientSession:
        """For requests: no cookies, no redirects of its own, connections reused only while surely alive."""
        return self._session(keepalive_s=_REUSE_POST_S, resolver=None)

    def delivery_session(self, *, guard: bool) -> aiohttp.ClientSession:
        """For results. With ``guard``, names that lead into private networks are refused."""
        return self._session(keepalive_s=_REUSE_GET_S, resolver=self._guarded() if guard else None)

    def _guarded(self) -> _GuardedResolver:
        proxies = {(proxy.url.host, proxy.url.port) for proxy in self._proxies.values() if proxy.url is not None}
        return _GuardedResolver(proxies)

    def _session(self, *, keepalive_s: float, resolver: AbstractResolver | None) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=0,
            ssl=self._tls,
            keepalive_timeout=keepalive_s,
            resolver=resolver,
            socket_factory=_make_socket,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,  # it would read ~/.netrc and send what it finds there
            requote_redirect_url=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S),
            headers={"User-Agent": "fluxbatch", "Accept-Encoding": "identity"},
        )


def check_base_url(text: str) -> URL:
    """The base URL, fit to be sent a key.

    Raises:
        UsageError: it isn't http(s), holds credentials or a query, or is plain http to another machine.
    """
    try:
        url = URL(text.rstrip("/"))
    except ValueError as error:
        raise UsageError(
            f"base URL {clean(text)!r}: {clean(str(error))}", remedy="it looks like https://api.apiyi.com/v1"
        ) from None
    if url.scheme not in {"http", "https"} or not _is_host(url.raw_host or ""):
        raise UsageError(
            f"base URL {clean(text)!r} is no http(s) address", remedy="it looks like https://api.apiyi.com/v1"
        )
    if url.user or url.password or url.query_string or url.fragment:
        bare = url.with_user(None).with_query(None).with_fragment(None)
        raise UsageError(
            f"base URL {bare}: it must hold no credentials and no query",
            remedy="the key comes from FLUXBATCH_API_KEY, APIYI_API_KEY or --api-key-file",
        )
    if url.scheme == "http" and not is_loopback(url.host or ""):
        raise UsageError(f"base URL {text!r}: the key is not sent over plain http", remedy="use https")
    return url


def _is_host(text: str) -> bool:
    return ":" in text or _NAME.fullmatch(text) is not None


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    if host.rstrip(".").casefold() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        if ip in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
        if ip.sixtofour is not None or ip.teredo is not None or ip.is_site_local:
            return False
    return ip.is_global and not ip.is_multicast


class _GuardedResolver(AbstractResolver):
    """Refuses names that lead into private networks, but for the proxies, which mostly stand in one."""

    def __init__(self, proxies: Collection[tuple[str | None, int | None]]) -> None:
        self._inner = aiohttp.ThreadedResolver()
        self._proxies = proxies

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        if (host, port) not in self._proxies and not all(is_public(one["host"]) for one in found):
            raise ForbiddenAddress(f"{host} leads into a private network")
        return found

    async def close(self) -> None:
        await self._inner.close()


def _tls(ca_file: Path | None) -> ssl.SSLContext | bool:
    if ca_file is None and not {"SSL_CERT_FILE", "SSL_CERT_DIR"} & os.environ.keys():
        return True  # aiohttp has a context of the system's certificates already; another costs 27 ms
    context = ssl.create_default_context()
    try:
        if ca_file is not None:
            context.load_verify_locations(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"--ca-file {ca_file}: {error}", remedy="it must hold certificates in PEM form") from error
    return context


def _by_scheme(proxies: Mapping[str, str]) -> dict[str, str]:
    """As curl does: ALL_PROXY stands in for those that are not named. Who has one has it for https, at least."""
    named = {scheme: url for scheme, url in proxies.items() if scheme in {"http", "https"}}
    return named if "https" in named or "all" not in proxies else {"https": proxies["all"], **named}


def _proxy(text: str) -> Proxy:
    try:
        url = URL(text if "://" in text else f"http://{text}")
    except ValueError:
        url = URL()
    if url.scheme.startswith("socks"):
        raise UsageError(
            f"proxy {url.with_user(None)}: SOCKS is not supported",
            remedy="use an http proxy (HTTPS_PROXY=http://…), or a local http-to-SOCKS bridge",
        )
    if url.scheme not in {"http", "https"} or not _is_host(url.raw_host or ""):
        bare = clean(text.rpartition("@")[2])
        raise UsageError(f"proxy {bare!r} is no http(s) address", remedy="it looks like HTTPS_PROXY=http://proxy:3128")
    if not url.user:
        return Proxy(url)
    credentials = base64.b64encode(f"{url.user}:{url.password or ''}".encode()).decode()
    return Proxy(url.with_user(None), {"Proxy-Authorization": f"Basic {credentials}"})


def _make_socket(addr_info: tuple[Any, ...]) -> socket.socket:
    family, kind, proto, *_ = addr_info
    made = socket.socket(family=family, type=kind, proto=proto)
    made.setblocking(False)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name in ("TCP_KEEPIDLE", "TCP_KEEPALIVE", "TCP_KEEPINTVL"):
        option = getattr(socket, name, None)
        if option is not None:
            made.setsockopt(socket.IPPROTO_TCP, option, _KEEPALIVE_S)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        with suppress(OSError):  # not every kernel that has the name knows it
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)
    return made
