"""What a caller asks of a run."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal, Protocol

from fluxbatch.adapters.clock import SystemClock
from fluxbatch.settings import DEFAULT_BASE_URL, Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from fluxbatch.app.aftermath import Aftermath
    from fluxbatch.app.folder import Paths
    from fluxbatch.model.problem import Problem
    from fluxbatch.model.summary import Progress
    from fluxbatch.planning.quote import Quote
    from fluxbatch.planning.sources import SourceSpec
    from fluxbatch.ports import Observer

__all__ = ["CALLED_OFF", "Hooks", "Page", "RunRequest", "new_run_id"]

CALLED_OFF: Final = "called_off"
"""the stop reason on record of a run that ended before its first request"""


class Page(Protocol):
    """Shows a run as it goes on. Must be quick; what it raises changes nothing."""

    def begin(self, paths: Paths, run_id: str, stop: Callable[[], None]) -> None:
        """The plan is on record and requests follow. ``stop`` does what Ctrl-C does, from any thread."""
        ...

    def show(self, progress: Progress) -> None:
        """How things stand."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """How a caller takes part in a run.

    Attributes:
        observers: hear of every event.
        confirm: sees the quote before anything is sent; raises to call it off.
        warn: is shown the warnings of the checks, and how many there are in all.
        waiting: is told what is waited for before anything else.
        started: is told where images land and what will be made, right before the first request.
        progress: is told how things stand, every ``progress_every_s`` seconds.
        settled: looks at what came of every job, once the account is written.
        page: shows the run to others; told twice a second.
        signals: whether SIGINT and SIGTERM end the run in order (main thread only).
    """

    observers: Sequence[Observer] = ()
    confirm: Callable[[Quote], None] | None = None
    warn: Callable[[Sequence[Problem], int], None] | None = None
    waiting: Callable[[str], None] | None = None
    started: Callable[[Path | str, Quote], None] | None = None
    progress: Callable[[Progress], None] | None = None
    progress_every_s: float = 5.0
    settled: Callable[[Aftermath], Awaitable[None]] | None = None
    page: Page | None = None
    signals: bool = False


def new_run_id() -> str:
    """The moment in UTC, and a bit of chance: ``20261122-213852-43b8c9``."""
    return f"{datetime.fromtimestamp(SystemClock().now(), UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """One run.

    Attributes:
        sources: manifests, photos or jobs, in order.
        out: the output folder or an address in an object store; None leaves it to the manifest, or to its name.
        state: where the ledger lives, if not in the output folder; needed with an object store.
        base_url: of the API, up to and with ``/v1``.
        api_key: for it; not needed to simulate.
        simulate: serve the requests from a simulator of our own.
        on_invalid: refuse to start if any job is invalid, or leave the invalid ones out.
        settings: how the engine behaves.
        ca_file: certificates to trust beside the system's.
        prices: USD of an image by model, over the known list.
        expect_digest: of the plan that was reviewed; a run that would send anything else is refused. Empty: any.
        download_proxy: through which results are fetched, in place of the environment's; ``direct`` for none; empty: as
            requests.
        metrics_file: where figures of the run are written, in the text format of Prometheus; None for nowhere.
        run_id: names the run in ledger, events and logs; sorts by time.
    """

    sources: Sequence[SourceSpec]
    out: str | Path | None = None
    state: Path | None = None
    base_url: str = DEFAULT_BASE_URL
    api_key: str = field(default="", repr=False)
    simulate: bool = False
    on_invalid: Literal["error", "skip"] = "error"
    settings: Settings = field(default_factory=Settings)
    ca_file: Path | None = None
    prices: Mapping[str, float] = field(default_factory=dict)
    expect_digest: str = ""
    download_proxy: str = field(default="", repr=False)
    metrics_file: Path | None = None
    hooks: Hooks = field(default_factory=Hooks)
    run_id: str = field(default_factory=new_run_id)
