"""Looking whether a run would find what it needs. Asks the API for its models alone: nothing is sent that costs."""

from __future__ import annotations

import platform
import resource
import shutil
import tempfile
import urllib.request
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import aiofiles.tempfile
import anyio
import anyio.to_thread
from yarl import URL

from fluxbatch import __version__
from fluxbatch.adapters.clock import SystemClock
from fluxbatch.adapters.disk.filesystem import network_kind
from fluxbatch.adapters.http.connect import check_base_url
from fluxbatch.adapters.http.listing import list_models
from fluxbatch.adapters.stores.opening import open_bucket
from fluxbatch.adapters.stores.probe import probe
from fluxbatch.app.compose import networks
from fluxbatch.app.folder import Paths, known_state
from fluxbatch.app.simulated import simulated_api
from fluxbatch.errors import StorageError, UsageError
from fluxbatch.model.address import StoreAddress
from fluxbatch.model.flux import known_models
from fluxbatch.policy.checkup import Check, judge_answer, judge_clock, judge_files, judge_models, judge_space
from fluxbatch.settings import Settings
from fluxbatch.telemetry.redact import clean

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fluxbatch.adapters.http import Network
    from fluxbatch.adapters.http.listing import Listing

__all__ = ["CheckupRequest", "check_up"]

_PATIENCE_S: Final = 10.0
_SOMEWHERE: Final = URL("https://delivery.invalid/")
"""where results come from is known once there are some"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckupRequest:
    """What is to be looked at.

    Attributes:
        base_url: of the API, up to and with ``/v1``.
        api_key: empty if there is none.
        key_place: the file or variable that it came from.
        key_error: why it can't be sent; None if it can.
        out: where images would land; need not be there. An address in an object store as text.
        state: where the ledger would be, if not in there.
        simulate: look at a simulator of our own instead of the API.
        ca_file: certificates to trust beside the system's.
        download_proxy: through which results would be fetched; as of a run.
        settings: of the run: how much at a time, and the free space that it asks for.
    """

    base_url: str
    api_key: str = field(default="", repr=False)
    key_place: str = ""
    key_error: UsageError | None = None
    out: Path | str
    state: Path | None = None
    simulate: bool = False
    ca_file: Path | None = None
    download_proxy: str = field(default="", repr=False)
    settings: Settings = field(default_factory=Settings)


async def check_up(request: CheckupRequest) -> list[Check]:
    """Look at everything, the API included."""
    async with _api(request) as (base_url, key):
        checks = [_key_check(request), *await _look_at_api(request, base_url, key)]
    if isinstance(request.out, str):
        checks.append(await _store_check(request.out, request.ca_file))
    checks += await anyio.to_thread.run_sync(_look_at_disk, request)
    return [*checks, _files_check(request.settings), _versions_check()]


@asynccontextmanager
async def _api(request: CheckupRequest) -> AsyncIterator[tuple[str, str]]:
    """The address to ask and the key to ask with."""
    if not request.simulate:
        yield request.base_url, request.api_key
        return
    async with (
        aiofiles.tempfile.TemporaryDirectory(prefix="fluxbatch-doctor-") as folder,
        simulated_api(Path(folder)) as api,
    ):
        yield api.base_url, api.key


def _key_check(request: CheckupRequest) -> Check:
    if request.simulate:
        return Check.ok("key", "the simulator has one of its own")
    if request.key_error is not None:
        return Check.unusable("key", clean(request.key_error.message), request.key_error.remedy)
    if not request.api_key:
        return Check.unusable(
            "key", "there is none", "export FLUXBATCH_API_KEY=sk-…, or name a file: --api-key-file FILE"
        )
    return Check.ok("key", f"from {clean(request.key_place)}")


async def _look_at_api(request: CheckupRequest, base_url: str, key: str) -> list[Check]:
    try:
        url = check_base_url(base_url)
    except UsageError as error:
        return [Check.unusable("api", error.message, error.remedy)]
    try:
        proxies = urllib.request.getproxies()
        network, for_results = networks(request, {} if request.simulate else proxies)
    except UsageError as error:
        return [Check.unusable("network", error.message, error.remedy)]
    clock = SystemClock()
    listing = await list_models(url, key, network=network, now=clock.now, patience_s=_PATIENCE_S)
    checks = [_proxy_check(network, url, proxies), *_api_checks(url, listing, with_key=bool(key))]
    return [*checks, await _downloads_check(for_results, url)] if for_results is not network else checks


async def _downloads_check(network: Network, url: URL) -> Check:
    """The way of results, if they have one of their own: is the proxy there, and does it let somebody out."""
    way = network.proxy(_SOMEWHERE).url
    if way is None:
        return Check.ok("downloads", "results are fetched directly")
    proxy = clean(str(way.origin()))
    remedy = "check --download-proxy (FLUXBATCH_DOWNLOAD_PROXY)"
    try:
        with anyio.fail_after(_PATIENCE_S):
            async with await anyio.connect_tcp(way.host or "", way.port or 0):
                pass
    except (OSError, TimeoutError):
        return Check.stopping("downloads", f"the proxy for results, {proxy}, can't be reached", remedy)
    if network.proxy(url).url is not None:
        # without the key, which is no business of theirs: any answer will do
        asked = await list_models(url, "", network=network, now=SystemClock().now, patience_s=_PATIENCE_S)
        if asked.lost:
            words = f"through {proxy}, the proxy for results, {clean(url.host or '')} can't be reached: {asked.lost}"
            return Check.warning("downloads", words, "all is well if it lets delivery hosts through alone")
    return Check.ok("downloads", f"results are fetched through {proxy}")


def _proxy_check(network: Network, url: URL, proxies: dict[str, str]) -> Check:
    """The way to the API; what a proxy is told to let it in is no part of ``Network.proxy().url``."""
    way = network.proxy(url).url
    if way is not None:
        return Check.ok("proxy", f"{clean(url.host or '')} is reached through {clean(str(way.origin()))}")
    is_set = proxies.keys() & {"http", "https", "all"}
    why = "it is exempt from the proxy that is set" if is_set else "no proxy is set"
    return Check.ok("proxy", f"{clean(url.host or '')} is reached directly: {why}")


def _api_checks(url: URL, listing: Listing, *, with_key: bool) -> list[Check]:
    if listing.lost:
        remedy = "check the base URL, the network and the proxy (HTTPS_PROXY)"
        return [Check.stopping("api", f"{clean(str(url))} can't be reached: {listing.lost}", remedy)]
    clock = judge_clock(listing.date, listing.asked_at, listing.heard_at)
    if listing.complaint is not None:
        return [judge_answer(listing.complaint, with_key=with_key), clock]
    accepted = "accepts the key" if with_key else "answers, also without a key"
    return [
        Check.ok("api", f"{clean(str(url))} {accepted}"),
        judge_models(listing.models or (), known_models()),
        Check.ok("balance", "the gateway doesn't tell"),
        clock,
    ]


async def _store_check(out: str, ca_file: Path | None) -> Check:
    """Whether images could land in an object store, tried with a tiny one."""
    try:
        address = StoreAddress.parse(out)
        bucket = await anyio.to_thread.run_sync(partial(open_bucket, address, ca_file=ca_file, patience_s=_PATIENCE_S))
        await probe(bucket)
    except ValueError as error:
        return Check.unusable("store", f"{clean(out)}: {error}", "write s3://bucket/prefix")
    except UsageError as error:
        return Check.unusable("store", clean(error.message), error.remedy)
    except StorageError as error:
        return Check.stopping("store", clean(error.message), error.remedy)
    if bucket.creates and bucket.updates:
        return Check.ok("store", f"{clean(out)} takes images, and never one in place of another's")
    return Check.ok("store", f"{clean(out)} takes images; it knows no conditions, so names are looked at right before")


def _look_at_disk(request: CheckupRequest) -> list[Check]:
    # of an object store, the state folder has to take ledger and spool
    out = request.out if isinstance(request.out, Path) else request.state or Path()
    paths = Paths.of(out, request.state or known_state(out))
    checks = [_folder_check(paths.out, request.settings)]
    kind = network_kind(paths.state)
    if kind:
        checks.append(
            Check.unusable(
                "ledger",
                f"{clean(str(paths.state))} is on a network filesystem ({clean(kind)}), unfit for a ledger",
                "keep it on a local disk: --state DIR",
            )
        )
    return checks


def _folder_check(out: Path, settings: Settings) -> Check:
    """Whether images could land there; a folder that is not there yet is made in the nearest one that is."""
    try:
        place = next(path for path in (out, *out.parents) if path.exists())
        with tempfile.TemporaryFile(dir=place) as file:  # without a name, where the system can do that
            file.write(b"x")
            file.flush()
        return judge_space(shutil.disk_usage(place).free, settings.free_space_floor)
    except NotADirectoryError:
        return Check.unusable(
            "space", f"{clean(str(out))} is no folder, or would be in a file", "name another one: --out"
        )
    except OSError as error:
        said = f"{clean(str(out))} can't be written: {error.strerror or type(error).__name__}"
        return Check.stopping("space", said, "mend the folder or its permissions, or name another one: --out")


def _files_check(settings: Settings) -> Check:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return judge_files(
        None if limit == resource.RLIM_INFINITY else limit,
        concurrency=settings.concurrency,
        downloads=settings.downloads,
    )


def _versions_check() -> Check:
    return Check.ok("versions", f"fluxbatch {__version__}, Python {platform.python_version()}, {platform.system()}")
