"""What is plugged in where: the one place that answers this."""

from __future__ import annotations

import urllib.request
from contextlib import asynccontextmanager
from random import SystemRandom
from typing import TYPE_CHECKING, Protocol

import anyio
import anyio.to_thread

from fluxbatch.adapters.clock import SystemClock
from fluxbatch.adapters.disk import FileRescue, FileSource, default_places
from fluxbatch.adapters.fitting import PillowFitter
from fluxbatch.adapters.http import GatewayProvider, HttpFetcher, Network
from fluxbatch.adapters.http.connect import check_base_url, is_loopback
from fluxbatch.adapters.stores import StoreSource
from fluxbatch.engine import Desk
from fluxbatch.errors import UsageError
from fluxbatch.model.flux import known_models
from fluxbatch.policy.budget import Budget
from fluxbatch.policy.limits import AdaptiveLimiter
from fluxbatch.policy.outage import Outage
from fluxbatch.telemetry.observers import Observers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from fluxbatch.app.calendar import Calendar
    from fluxbatch.app.folder_state import HeldFolder
    from fluxbatch.app.request import RunRequest
    from fluxbatch.ports import Memo
    from fluxbatch.settings import Settings

__all__ = ["compose", "networks"]


class Ways(Protocol):
    """As much of a request as says which ways there are.

    Attributes:
        ca_file: certificates to trust beside the system's.
        download_proxy: as the user wrote it.
    """

    @property
    def ca_file(self) -> Path | None: ...
    @property
    def download_proxy(self) -> str: ...


def networks(request: Ways, proxies: Mapping[str, str]) -> tuple[Network, Network]:
    """The networks of requests and of results; ``proxies``: of the environment, by scheme.

    Raises:
        UsageError: an address of a proxy or the file of certificates is wrong.
    """
    network = Network(ca_file=request.ca_file, proxies=proxies)
    if not request.download_proxy:
        return network, network
    own = {} if request.download_proxy == "direct" else dict.fromkeys(("http", "https"), request.download_proxy)
    try:
        return network, Network(ca_file=request.ca_file, proxies=own)
    except UsageError as error:
        remedy = "it looks like --download-proxy http://proxy:3128; SOCKS needs a local http-to-SOCKS bridge"
        raise UsageError(f"--download-proxy: {error.message}", remedy=remedy) from None


@asynccontextmanager
async def compose(
    request: RunRequest,
    folder: HeldFolder,
    *,
    run_id: str,
    base_url: str,
    key: str,
    learned: Mapping[str, int],
    calendar: Calendar,
    memo: Memo | None,
) -> AsyncIterator[Desk]:
    """The desk of a run against a real API or the simulator; connections are closed at the end.

    ``learned``: limits that an earlier run met; ``calendar``: when and how much may be sent; ``memo``: is told what is
    found in photos of stores.
    """
    settings, clock = request.settings, SystemClock()
    url = check_base_url(base_url)
    network, for_results = networks(request, {} if request.simulate else urllib.request.getproxies())
    provider = GatewayProvider(
        url,
        key,
        network=network,
        source=FileSource(),
        clock=clock,
        spool=folder.paths.landing,
        settings=settings,
    )
    fetcher = HttpFetcher(network=for_results, clock=clock, settings=settings, local=is_loopback(url.host or ""))
    places = await anyio.to_thread.run_sync(default_places, folder.paths.ledger)
    fitter = PillowFitter(folder.paths.fitted)
    await anyio.to_thread.run_sync(fitter.sweep)
    try:
        yield Desk(
            run_id=run_id,
            ledger=folder.ledger,
            provider=provider,
            fetcher=fetcher,
            sink=folder.sink,
            clock=clock,
            observer=Observers([folder.events, *request.hooks.observers]),
            settings=settings,
            limiter=_limiter(settings, learned),
            budget=Budget(settings.max_cost_usd, calendar.allowance),
            window=calendar.window,
            outage=Outage(patience_s=settings.outage_s, first_answer_s=settings.first_answer_s),
            rng=SystemRandom(),
            rescue=FileRescue(places),
            fitter=fitter,
            objects=StoreSource(folder.photos, request.ca_file, memo),
        )
    finally:
        with anyio.CancelScope(shield=True):
            await provider.close()
            await fetcher.close()


def _limiter(settings: Settings, learned: Mapping[str, int]) -> AdaptiveLimiter:
    ceilings = {model.id: model.concurrency for model in known_models().values() if model.concurrency is not None}
    return AdaptiveLimiter(settings.concurrency, by_model=ceilings, learned=learned, rpm=settings.rpm)
