"""The played provider keeps the promises of the ``Provider`` port. Real ones run the same cases beside their server."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from fluxbatch.errors import PhotoChanged
from fluxbatch.policy.verdict import Loss
from fluxbatch.testing import Lose, ScriptedProvider, SpoilPhoto, VirtualClock, VirtualTimeLoop, make_job
from fluxbatch.testing.conformance import case_name, provider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from fluxbatch.model.job import PlannedJob
    from fluxbatch.testing import Act


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": VirtualTimeLoop}


class ScriptedRig:
    def __init__(self, spool: Path) -> None:
        self.clock = VirtualClock()
        self._acts: dict[str, Sequence[Act]] = {}
        self._spoiled: set[str] = set()
        self._deaf = False
        self.provider = ScriptedProvider(self.clock, self._act, spool=spool)

    def will(self, job: PlannedJob, acts: Sequence[Act]) -> None:
        self._acts[job.id] = [SpoilPhoto(error=PhotoChanged("changed"))] if job.id in self._spoiled else acts

    def arrived(self, job: PlannedJob) -> int:
        if job.id in self._spoiled:
            return 0
        return sum(sent.job_id == job.id for sent in self.provider.sent)

    def job(self, name: str) -> PlannedJob:
        return make_job(id=name)

    def spoiled(self, name: str) -> PlannedJob:
        self._spoiled.add(name)
        return make_job(id=name)

    @asynccontextmanager
    async def unreachable(self) -> AsyncIterator[None]:
        self._deaf = True
        yield
        self._deaf = False

    def _act(self, job: PlannedJob, attempt: int) -> Act:
        return Lose(loss=Loss.CONNECT) if self._deaf else self._acts[job.id][attempt - 1]


@pytest.mark.parametrize("case", provider.CASES, ids=case_name)
async def test_scripted_provider(case: provider.Case, tmp_path: Path) -> None:
    @asynccontextmanager
    async def make() -> AsyncIterator[ScriptedRig]:
        yield ScriptedRig(tmp_path)

    factory: provider.Factory = make
    await case(factory)
