"""One thread that owns the database: calls queue up, share a commit, and return once it is durable."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar

from fluxbatch.errors import FluxbatchError, LedgerError, StorageError
from fluxbatch.unbroken import Uncut, unbroken

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["CommitThread", "Together"]

T = TypeVar("T")
V = TypeVar("V")
_Act: TypeAlias = "Callable[[sqlite3.Connection], Any] | Together[Any]"
_Call: TypeAlias = tuple[_Act, Any, "asyncio.Future[Any]"]

_MOST_A_COMMIT: Final = 512
_MOST_AT_ONCE: Final = 16
"""calls of a commit that return before the event loop looks at its sockets again"""
_WAIT_S: Final = 0.001
_MOST_WAITS: Final = 4
"""how often, and how long each time, a busy ledger waits for company; an idle one commits at once"""


@dataclass(frozen=True, slots=True)
class Together(Generic[V]):
    """How values of several calls are written by a single statement: all of them or, if it raises, none.

    Attributes:
        write: is given the connection and the values.
        most: values at a time.
    """

    write: Callable[[sqlite3.Connection, Sequence[V]], None]
    most: int


class CommitThread:
    """Runs functions of a connection in order, many in one transaction.

    A function that raises one of our own errors must have changed nothing; the others of its transaction go through.

    Args:
        connect: opens the database, when it is first asked for.
        check: asked before each commit of something written; what it raises undoes the transaction.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection], check: Callable[[], None] = lambda: None) -> None:
        self._connect = connect
        self._check = check
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="fluxbatch-ledger", daemon=True)
        self._closed = False
        self._thread.start()

    async def call(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Run a function; return once what it wrote is on disk.

        Raises:
            StorageError: the database can't be written; nothing of the transaction was kept.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._ask((function, None, future))
        return await future

    async def take(self, together: Together[V], value: V) -> None:
        """Write a value, along with those of others. Whoever is cancelled meanwhile is so at the next await after it.

        Raises:
            StorageError: as above, and whatever ``together`` raises about this value.
        """
        future: Uncut[None] = Uncut(loop=asyncio.get_running_loop())
        self._ask((together, value, future))
        await unbroken(future)

    def _ask(self, call: _Call) -> None:
        if self._closed:
            raise LedgerError("the ledger is closed")
        self._calls.put(call)

    def close(self) -> None:
        """Finish what was asked, and end. Blocks; may be called again."""
        if not self._closed:
            self._closed = True
            self._calls.put(None)
        self._thread.join()

    def _work(self) -> None:
        connection: sqlite3.Connection | None = None
        calls: list[_Call] = []
        while True:
            calls, more = self._gather(len(calls))
            if calls:
                try:
                    connection = connection or self._connect()
                except Exception as error:  # noqa: BLE001  # whatever it is, those who wait must hear of it
                    _deliver(calls, [_as_ours(error)] * len(calls))
                else:
                    _deliver(calls, self._outcomes(connection, calls))
            if not more:
                break
        if connection is not None:
            connection.close()

    def _gather(self, company: int) -> tuple[list[_Call], bool]:
        """Wait for calls. Returns what is to share a commit, and whether more may come.

        As many as shared the last one are likely to come again: they are waited for, which no one notices who is alone.
        """
        first = self._calls.get()
        for _ in range(_MOST_WAITS):
            if first is None or self._calls.qsize() + 1 >= company:
                break
            time.sleep(_WAIT_S)
        calls: list[_Call] = []
        while first is not None:
            calls.append(first)
            if len(calls) >= _MOST_A_COMMIT or self._calls.empty():
                return calls, True
            first = self._calls.get_nowait()
        return calls, False

    def _outcomes(self, connection: sqlite3.Connection, calls: list[_Call]) -> list[Any]:
        """Run calls in one transaction; if that fails, each in one of its own: an error is for who made it."""
        try:
            return self._transact(connection, calls)
        except Exception as error:  # noqa: BLE001  # as above: a thread that died would leave them waiting for ever
            if len(calls) == 1:
                return [_as_ours(error)]
            return [outcome for call in calls for outcome in self._outcomes(connection, [call])]

    def _transact(self, connection: sqlite3.Connection, calls: list[_Call]) -> list[Any]:
        parts = _parts(calls)
        act, values = parts[0]
        if len(parts) == 1 and isinstance(act, Together):
            # a statement is a transaction of its own: each one more lets go of the interpreter, and waits for it
            self._check()
            act.write(connection, values)
            return [None] * len(calls)
        outcomes: list[Any] = []
        before = connection.total_changes
        connection.execute("BEGIN IMMEDIATE")
        try:
            for act, values in parts:
                outcomes += _run(connection, act, values)
            if connection.total_changes != before:
                self._check()
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return outcomes


def _parts(calls: Sequence[_Call]) -> list[tuple[_Act, list[Any]]]:
    """What is to be run, in order, with its values: neighbours that can be written together are one."""
    parts: list[tuple[_Act, list[Any]]] = []
    for act, value, _ in calls:
        if parts and act is parts[-1][0] and isinstance(act, Together) and len(parts[-1][1]) < act.most:
            parts[-1][1].append(value)
        else:
            parts.append((act, [value]))
    return parts


def _run(connection: sqlite3.Connection, act: _Act, values: list[Any]) -> list[Any]:
    try:
        if isinstance(act, Together):
            act.write(connection, values)
            return [None] * len(values)
        return [act(connection)]
    except FluxbatchError as refusal:
        if len(values) > 1:  # whose it is will show once each is written by itself
            raise
        return [refusal]


def _deliver(calls: list[_Call], outcomes: list[Any]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
    for (_, _, future), outcome in zip(calls, outcomes, strict=True):
        by_loop.setdefault(future.get_loop(), []).append((future, outcome))
    for loop, pairs in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle, loop, pairs)
        except RuntimeError:  # the loop is gone, and with it everyone who waited
            continue


def _settle(loop: asyncio.AbstractEventLoop, pairs: list[tuple[asyncio.Future[Any], Any]]) -> None:
    if len(pairs) > _MOST_AT_ONCE:
        loop.call_soon(_settle, loop, pairs[_MOST_AT_ONCE:])
    for future, outcome in pairs[:_MOST_AT_ONCE]:
        if future.done():
            continue
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)


def _as_ours(error: Exception) -> Exception:
    if not isinstance(error, sqlite3.Error | OSError):
        return error
    return StorageError(
        f"the ledger can't be written: {error}",
        remedy="free space or mend the folder, then run the same command again",
    )
