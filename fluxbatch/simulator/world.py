"""All that the handlers of one simulator share."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from .billing import Account
    from .config import SimulatorConfig
    from .faults import Faults
    from .limits import Limits
    from .signing import Signer
    from .store import DataFolder

RENDERERS = 2
"""Pictures decoded or rendered at once: more only fight for the processor."""
HANG_UP_CHECK_S = 0.05


@dataclass
class World:
    """State of one simulator; everything here belongs to its event loop."""

    config: SimulatorConfig
    faults: Faults
    clock: Callable[[], float]
    """Epoch seconds."""
    folder: DataFolder
    account: Account
    limits: Limits
    signer: Signer
    listener: Callable[[dict[str, Any]], None] | None = None
    delivery_base: str = ""
    posts: int = 0
    """Generation requests with the right key, numbered as they came."""
    deliveries: int = 0
    """GETs of results, numbered as they came; second hops of a redirect don't count."""
    leaked_keys: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    """Answers of the API by status and code, e.g. `200`, `429 rate_limit_exceeded`."""
    bad_until: float = float("-inf")
    """End of the present 502 window, in seconds of the loop's clock."""
    swept: float = float("-inf")
    requests: int = 0
    threads: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(RENDERERS))
    file_lock: anyio.Lock = field(default_factory=anyio.Lock)
    stopping: anyio.Event = field(default_factory=anyio.Event)

    def new_request_id(self) -> str:
        """An id in the gateway's form: time, then digits and letters that don't repeat."""
        self.requests += 1
        now = self.clock()
        stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%d%H%M%S%f")
        return stamp + hashlib.sha256(f"{now}:{self.requests}:{id(self)}".encode()).hexdigest()[:12]

    def date(self) -> str:
        """The `Date` header by the simulator's own clock, so that clients can see a skew."""
        return format_datetime(datetime.fromtimestamp(self.clock(), UTC), usegmt=True)

    def tell(self, **event: Any) -> None:
        """Report what happened to whoever listens."""
        if self.listener is not None:
            self.listener(event)


def is_gone(request: web.BaseRequest) -> bool:
    """Whether the client has closed its connection."""
    return request.transport is None or request.transport.is_closing()


async def stall(world: World, request: web.BaseRequest, seconds: float) -> None:
    """Do nothing until the time is up, the client leaves, or the simulator stops."""
    until = anyio.current_time() + seconds
    while anyio.current_time() < until and not is_gone(request) and not world.stopping.is_set():
        # aiohttp does not tell a handler that its client has left, so look now and then
        with anyio.move_on_after(min(HANG_UP_CHECK_S, until - anyio.current_time())):
            await world.stopping.wait()
