"""The simulator as a server: in this process (`async with Simulator() as sim`) or behind `fluxbatch simulate`."""

from __future__ import annotations

import asyncio
import errno
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

import anyio
import anyio.to_thread
from aiohttp import web

from .billing import Account
from .config import SimulatorConfig
from .faults import Faults
from .limits import Limits
from .routes import make_app
from .signing import Signer
from .store import DataFolder, SimulatorError
from .world import World

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable
    from types import TracebackType

    from .billing import Call


class PortInUseError(SimulatorError):
    """The port asked for is taken."""


def wall_clock() -> float:
    """Epoch seconds."""
    return datetime.now(UTC).timestamp()


class Simulator:
    """A FLUX image API on loopback that checks every rule, bills, and makes real images.

    Use it as an async context manager. `clock` gives epoch seconds for deadlines and dates; `listener` is called with
    a dict for each request answered.
    """

    def __init__(
        self,
        config: SimulatorConfig | None = None,
        *,
        faults: Faults | None = None,
        clock: Callable[[], float] = wall_clock,
        listener: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        """Nothing is opened before `start`."""
        self.config = config or SimulatorConfig()
        self._first_faults = faults or Faults()
        self._clock = clock
        self._listener = listener
        self._world: World | None = None
        self._open = False
        self._runners: list[web.AppRunner] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self.port = 0
        self.delivery_port = 0

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        await self.stop()

    async def start(self) -> None:
        """Open the data folder and listen.

        :raises PortInUseError: the port asked for is taken.
        :raises FolderInUseError: another simulator has the data folder.
        """
        folder = DataFolder(self.config.data)
        secret = await anyio.to_thread.run_sync(folder.open)
        try:
            account = Account(folder.calls, self.config.credit_usd)
            await anyio.to_thread.run_sync(account.load)
            self._world = World(
                config=self.config,
                faults=self._first_faults,
                clock=self._clock,
                folder=folder,
                account=account,
                limits=Limits(self.config),
                signer=Signer(secret),
                listener=self._listener,
            )
            await anyio.to_thread.run_sync(folder.sweep, self._clock())
            await self._listen(self._world)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._close_runners()
                await anyio.to_thread.run_sync(folder.close)
            raise
        self._open = True

    async def stop(self) -> None:
        """Let requests in flight end within the grace time, close everything; nothing to do if not started."""
        if not self._open:
            return
        self._open = False
        world = self.world
        world.stopping.set()
        with anyio.CancelScope(shield=True):
            await self._close_runners()
            # requests whose client has left are unknown to the server by now, but must be billed
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=self.config.grace_s)
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks)
            await anyio.to_thread.run_sync(world.folder.close)

    async def _listen(self, world: World) -> None:
        remembered = await anyio.to_thread.run_sync(world.folder.last_ports)
        self.port = await self._open_port(world, self.config.port, remembered.get("port", 0))
        if self.config.delivery_port is None:
            self.delivery_port = self.port
        else:
            last = remembered.get("delivery_port", 0)
            self.delivery_port = await self._open_port(world, self.config.delivery_port, last)
        world.delivery_base = self.delivery_url
        await anyio.to_thread.run_sync(world.folder.remember_ports, self.port, self.delivery_port)

    async def _open_port(self, world: World, wanted: int, last: int) -> int:
        """Listen on the port wanted, else on the last one, else on any."""
        runner = web.AppRunner(
            make_app(world, self._tasks),
            access_log=None,
            shutdown_timeout=self.config.grace_s,
            keepalive_timeout=self.config.keepalive_s,
        )
        await runner.setup()
        self._runners.append(runner)
        for port in (wanted,) if wanted else (last, 0):
            try:
                await web.TCPSite(runner, self.config.host, port).start()
            except OSError as error:
                if error.errno != errno.EADDRINUSE or (port == 0 and not wanted):
                    raise
            else:
                return int(runner.addresses[0][1])
        raise PortInUseError(f"port {wanted} on {self.config.host} is in use")

    async def _close_runners(self) -> None:
        for runner in self._runners:
            await runner.cleanup()
        self._runners.clear()

    @property
    def world(self) -> World:
        """The shared state, for looking at; there is none before `start`."""
        if self._world is None:
            raise SimulatorError("the simulator has not been started")
        return self._world

    @property
    def base_url(self) -> str:
        """What clients use as base URL, e.g. `http://127.0.0.1:8765/v1`."""
        return f"http://{self._host}:{self.port}/v1"

    @property
    def delivery_url(self) -> str:
        """Origin of the result URLs."""
        return f"http://{self._host}:{self.delivery_port}"

    @property
    def _host(self) -> str:
        return f"[{self.config.host}]" if ":" in self.config.host else self.config.host

    @property
    def api_key(self) -> str:
        """The key that clients must send."""
        return self.config.api_key

    @property
    def system_token(self) -> str:
        """The token of the call log."""
        return self.config.system_token

    @property
    def calls(self) -> tuple[Call, ...]:
        """Billed calls so far, in order, earlier runs on the same data folder included."""
        return tuple(self.world.account.calls)

    @property
    def spent_usd(self) -> float:
        """USD billed so far, rounded to a thousandth of a cent."""
        return round(self.world.account.spent_usd, 5)

    @property
    def leaked_keys(self) -> int:
        """Requests that brought credentials to the delivery host."""
        return self.world.leaked_keys

    @property
    def requests(self) -> int:
        """Generation requests with the right key, refused ones included."""
        return self.world.posts

    @property
    def deliveries(self) -> int:
        """GETs of results, refused ones included."""
        return self.world.deliveries

    @property
    def answers(self) -> Counter[str]:
        """Answers of the API by status and code, e.g. `200`, `429 rate_limit_exceeded`."""
        return self.world.answers

    @property
    def in_flight(self) -> int:
        """Generations under way."""
        return self.world.limits.in_flight

    @property
    def peak_in_flight(self) -> int:
        """Most generations under way at once."""
        return self.world.limits.peak

    @property
    def faults(self) -> Faults:
        """The plan of faults; may be replaced while running. The numbering of requests goes on."""
        return self._first_faults if self._world is None else self._world.faults

    @faults.setter
    def faults(self, plan: Faults) -> None:
        self._first_faults = plan
        if self._world is not None:
            self._world.faults = plan
