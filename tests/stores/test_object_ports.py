"""Photos of object stores, fake and real, keep the promises of their ports."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from fluxbatch.adapters.stores import PhotoCache, StoreIndex, StoreSource
from fluxbatch.testing import MemoryObjects
from fluxbatch.testing.conformance import case_name, objects
from tests.stores.s3server import S3Server, s3_serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class MemoryRig:
    def __init__(self) -> None:
        self.index = self.source = MemoryObjects()

    def put(self, name: str, data: bytes) -> str:
        self.source.put(f"s3://pictures/{name}", data)
        return f"s3://pictures/{name}"

    def remove(self, name: str) -> None:
        self.source.remove(f"s3://pictures/{name}")


class StoreRig:
    def __init__(self, server: S3Server, folder: Path) -> None:
        self._server = server
        self.index, self.source = StoreIndex(), StoreSource(PhotoCache(folder))

    def put(self, name: str, data: bytes) -> str:
        self._server.put(name, data)
        return f"s3://{self._server.bucket}/{name}"

    def remove(self, name: str) -> None:
        del self._server.objects[name]


@pytest.mark.parametrize("case", objects.CASES, ids=case_name)
async def test_memory_objects(case: objects.Case) -> None:
    @contextmanager
    def make() -> Iterator[MemoryRig]:
        yield MemoryRig()

    await case(make)


@pytest.mark.parametrize("case", objects.CASES, ids=case_name)
async def test_store_objects(case: objects.Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_serving() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)

        @contextmanager
        def make() -> Iterator[StoreRig]:
            yield StoreRig(server, tmp_path / "photos")

        await case(make)
