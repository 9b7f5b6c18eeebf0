"""Threads for work that waits for a disk, handed over and back at a tenth of what a thread pool takes for it."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from fluxbatch.unbroken import Uncut, unbroken

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Hands"]

T = TypeVar("T")

_MOST_AT_ONCE: Final = 16
"""outcomes that are handed over before the event loop looks at its sockets again: each sets off a millisecond's work"""
_IDLE_S: Final = 2.0
"""how long a thread waits for more before it ends"""


class Hands:
    """A few threads, started as they are needed, which end once there is nothing to do.

    Args:
        count: most of them at a time.
        name: of the threads.
    """

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._calls: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._open = 0
        self._outbox: _Outbox | None = None

    async def do(self, function: Callable[..., T], *arguments: object) -> T:
        """Call a function in a thread. Once begun it is seen through: a cancellation is raised after it."""
        loop = asyncio.get_running_loop()
        if self._outbox is None or self._outbox.loop is not loop:
            self._outbox = _Outbox(loop)
        future = Uncut[T](loop=loop)
        with self._lock:  # or the last thread might end between the two
            self._calls.put(_Call(function, arguments, future, self._outbox))
            self._open += 1
            if self._open > self._threads and self._threads < self._count:
                self._threads += 1
                threading.Thread(target=self._work, name=self._name, daemon=True).start()
        return await unbroken(future)

    def _work(self) -> None:
        while True:
            try:
                call = self._calls.get(timeout=_IDLE_S)
            except queue.Empty:
                with self._lock:
                    if self._calls.empty():
                        self._threads -= 1
                        return
                continue
            outcome, error = _outcome(call)
            with self._lock:
                self._open -= 1
            call.outbox.put(call.future, outcome, error)
            del call, outcome, error  # or what it was about would be kept until the next


class _Outbox:
    """What threads have done, on its way back to an event loop, which is woken once for all that is in it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._done: deque[tuple[asyncio.Future[Any], Any, Exception | None]] = deque()
        self._is_told = False

    def put(self, future: asyncio.Future[Any], outcome: Any, error: Exception | None) -> None:
        """From any thread."""
        self._done.append((future, outcome, error))
        if not self._is_told:
            self._is_told = True
            with suppress(RuntimeError):  # the loop is gone, and with it who has waited
                self.loop.call_soon_threadsafe(self._empty)

    def _empty(self) -> None:
        for _ in range(min(len(self._done), _MOST_AT_ONCE)):
            _settle(*self._done.popleft())
        if self._done:
            self.loop.call_soon(self._empty)
            return
        self._is_told = False
        if self._done:  # it came just before that, and was not told of
            self._is_told = True
            self.loop.call_soon(self._empty)


class _Call(NamedTuple):
    function: Callable[..., Any]
    arguments: tuple[object, ...]
    future: asyncio.Future[Any]
    outbox: _Outbox


def _outcome(call: _Call) -> tuple[Any, Exception | None]:
    try:
        return call.function(*call.arguments), None
    except Exception as error:  # noqa: BLE001  # whatever it is, who waits must hear of it
        return None, error


def _settle(future: asyncio.Future[Any], outcome: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(outcome)
    else:
        future.set_exception(error)
