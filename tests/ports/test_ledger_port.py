"""Both ledgers keep the promises of the ``Ledger`` port."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from fluxbatch.adapters.ledger import SqliteLedger
from fluxbatch.testing import MemoryLedger
from fluxbatch.testing.conformance import case_name, chains, ledger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

CASES = [*ledger.CASES, *chains.CASES]


class MemoryRig:
    def __init__(self) -> None:
        self.ledger = MemoryLedger()

    async def reopen(self) -> None:
        await self.ledger.close()
        self.ledger = self.ledger.reopen()


class SqliteRig:
    def __init__(self, path: Path) -> None:
        self._path = path
        self.ledger = SqliteLedger(path)

    async def reopen(self) -> None:
        await self.ledger.close()
        self.ledger = await SqliteLedger(self._path).open()


@pytest.mark.parametrize("case", CASES, ids=case_name)
async def test_memory_ledger(case: ledger.Case) -> None:
    @asynccontextmanager
    async def make() -> AsyncIterator[MemoryRig]:
        yield MemoryRig()

    await case(make)


@pytest.mark.parametrize("case", CASES, ids=case_name)
async def test_sqlite_ledger(case: ledger.Case, tmp_path: Path) -> None:
    count = 0

    @asynccontextmanager
    async def make() -> AsyncIterator[SqliteRig]:
        nonlocal count
        count += 1
        rig = SqliteRig(tmp_path / f"ledger-{count}.sqlite")
        try:
            yield rig
        finally:
            await rig.ledger.close()

    await case(make)
